"""What is optimised: data, models and criteria, and the `Objective` that joins them."""

// How far a figure was reproduced: a full disc, half of one, an empty one; the words stand beside it, or are read aloud.
function disc(verdict) {
  const fill = {reproduced: "M8 2a6 6 0 0 1 0 12a6 6 0 0 1 0 -12z", partly: "M8 2a6 6 0 0 1 0 12z"}[verdict] ?? ""
  return h("svg", {class: "disc", viewBox: "0 0 16 16", width: 11, height: 11, role: "img", "aria-label": verdict},
    h("path", {d: "M8 2a6 6 0 0 1 0 12a6 6 0 0 1 0 -12z", fill: "none", stroke: "currentColor", "stroke-width": 1.6}), h("path", {d: fill, fill: "currentColor"}))
}

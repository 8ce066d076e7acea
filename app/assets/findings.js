// Under a figure's panels: what the paper says of it, each with what was measured here, and the settings of both.
export function render({model}) {
  const root = h("section", {class: "findings", "aria-label": "What was found"})
  let drawn = ""

  function draw() {
    const {about = {}} = model.state
    const signature = JSON.stringify(about)
    if (signature === drawn) return
    drawn = signature
    const {name, claims = [], theirs, ours, lacks, paper} = about
    if (!name) return root.replaceChildren()
    const row = ([text, number, holds]) => h("tr", {},
      h("td", {class: holds ? "holds" : "fails"}, h("span", {"aria-hidden": "true"}, holds ? "✓" : "✗"), h("span", {class: "aloud"}, holds ? "holds" : "does not hold")),
      h("td", {}, text), h("td", {}, number))
    const said = [["In the paper", theirs], ["Here", ours], ["Not shown here", lacks]].filter(([, words]) => words)
    root.replaceChildren(
      h("table", {}, h("thead", {}, h("tr", {}, h("td", {}), h("th", {scope: "col"}, "What the paper shows"), h("th", {scope: "col"}, "What was measured here"))), h("tbody", {}, claims.map(row))),
      h("dl", {}, said.map(([title, words]) => h("div", {}, h("dt", {}, title), h("dd", {}, words))),
        h("div", {}, h("dt", {}, "On the command line"), h("dd", {}, h("code", {}, `cflows figure ${name} --out figures/`), paper ? h("span", {}, ", and with ", h("code", {}, "--paper-scale"), " on a GPU the paper’s own setting") : null))))
  }

  model.on("state", draw)
  draw()
  return root
}

// Every closed form beside its measurement: what it says, what it gives, what was measured, whether they agree, and where it stands.
export function render({model}) {
  const table = h("table", {class: "forms"})
  const none = h("p", {class: "none", hidden: true})
  let drawn = ""

  function row({name, formula, expected, measured, agrees, tolerance, source}) {
    const written = h("td", {class: "formula"})
    written.innerHTML = formula // MathML of the server's own
    const verdict = agrees ? "✓" : "✗"
    return h("tr", {},
      h("th", {scope: "row"}, name), written, h("td", {class: "number"}, expected), h("td", {class: "number"}, measured),
      h("td", {class: agrees ? "yes" : "no", title: tolerance}, h("span", {"aria-hidden": "true"}, verdict), h("span", {class: "said"}, agrees ? "agrees" : "differs")),
      h("td", {class: "within"}, tolerance), h("td", {class: "source"}, source))
  }

  function draw() {
    const {rows = [], note = ""} = model.state
    const signature = JSON.stringify([rows, note])
    if (signature === drawn) return
    drawn = signature
    setText(none, note)
    none.hidden = !note
    table.hidden = !rows.length
    const heads = ["", "Closed form", "Expected", "Measured", "", "Within", "Source"]
    const names = ["What", "Closed form", "Expected", "Measured", "Agrees", "Within", "Source"]
    table.replaceChildren(
      h("thead", {}, h("tr", {}, heads.map((head, i) => h("th", {scope: "col", class: ["Expected", "Measured"].includes(head) ? "number" : null}, head || h("span", {class: "said"}, names[i]))))),
      h("tbody", {}, rows.map(row)))
  }

  model.on("state", draw)
  draw()
  return h("div", {class: "forms-box"}, table, none)
}

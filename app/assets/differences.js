// What the compared runs differ in, and what came out: a column a run.
export function render({model}) {
  const table = h("table", {class: "differences"})
  let drawn = ""

  function draw() {
    const {heads = [], groups = []} = model.state
    const signature = JSON.stringify([heads, groups])
    if (signature === drawn) return
    drawn = signature
    const head = h("thead", {}, h("tr", {}, h("td", {}), heads.map(({label, color}) =>
      h("th", {scope: "col", title: label}, h("span", {class: "chip", style: `background: var(--${color})`, "aria-hidden": "true"}), label))))
    const bodies = groups.filter(({rows}) => rows.length).map(({title, rows}) => h("tbody", {},
      h("tr", {class: "group"}, h("th", {colspan: heads.length + 1, scope: "rowgroup"}, title)),
      rows.map(({label, term, cells}) => h("tr", {},
        h("th", {scope: "row", "data-term": term || null}, label), cells.map((cell) => h("td", {title: cell.length > 12 ? cell : null}, cell))))))
    table.replaceChildren(...heads.length ? [head, ...bodies] : [])
  }

  model.on("state", draw)
  draw()
  return table
}

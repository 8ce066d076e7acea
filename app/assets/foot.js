// Where and how the run is computed, and what limits it. No live region: it changes all the time.
export function render({model}) {
  const list = h("dl", {class: "foot", "aria-live": "off"})
  const parts = new Map()

  function draw() {
    const items = model.state.items ?? []
    for (const {name, text, term} of items) {
      if (!parts.has(name)) {
        const value = h("dd", {})
        parts.set(name, {value, element: h("div", {tabindex: 0, "data-term": term}, h("dt", {class: "said"}, name), value)})
      }
      setText(parts.get(name).value, text)
    }
    const shown = items.map(({name}) => parts.get(name).element)
    if (shown.length !== list.children.length || shown.some((element, i) => element !== list.children[i])) list.replaceChildren(...shown)
  }

  model.on("state", draw)
  draw()
  return list
}

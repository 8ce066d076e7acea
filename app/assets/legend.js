// A panel's legend (buttons that hide their curves), its choices, and a sentence in place of what is not drawn.
export function render({model}) {
  const entries = h("div", {class: "entries", role: "group", "aria-label": "Curves"})
  const choices = h("div", {class: "choices"})
  const note = h("p", {class: "note", hidden: true})
  const controls = new Map()
  let drawn = ""

  function button(entry) {
    const {label, color, dash, width, on} = entry
    return h("button", {
      type: "button", class: "entry", "aria-pressed": String(on), title: on ? `Hide “${label}”` : `Show “${label}”`,
      onclick: () => model.send_msg({toggle: label}),
    }, swatch(color, dash, width), label)
  }

  function draw() {
    const state = model.state
    const signature = JSON.stringify(state.entries ?? [])
    if (signature !== drawn) {
      const focused = [...entries.children].indexOf(entries.getRootNode().activeElement)
      entries.replaceChildren(...(state.entries ?? []).map(button))
      if (focused >= 0) entries.children[focused]?.focus()
      drawn = signature
    }
    for (const {name, label, values, value} of state.choices ?? []) {
      if (!controls.has(name)) {
        const control = segmented(`${state.key}-${name}`, label, values, (chosen) => model.send_msg({choose: name, value: chosen}))
        controls.set(name, control)
        choices.append(control.element)
      }
      controls.get(name).set(value)
    }
    setText(note, state.note ?? "")
    note.hidden = !state.note
  }

  model.on("state", draw)
  draw()
  return h("div", {class: "key"}, choices, entries, note)
}

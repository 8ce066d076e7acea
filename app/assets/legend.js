// A panel's legend (buttons that hide their curves), its choices, a measured fact, and a sentence in place of what is not drawn.
const MANY = 4 // values of a choice, beyond which it is a list to open (shell.py)

export function render({model}) {
  const tell = converse(model, draw)
  const entries = h("div", {class: "entries", role: "group", "aria-label": "Curves"})
  const choices = h("div", {class: "choices"})
  const note = h("p", {class: "note", hidden: true})
  const fact = h("p", {class: "fact", hidden: true})
  const controls = new Map()
  let drawn = ""

  function button(entry) {
    const {label, term, color, dash, width, on} = entry
    return h("button", {
      type: "button", class: "entry", "aria-pressed": String(on), "data-term": term, title: term ? null : on ? `Hide “${label}”` : `Show “${label}”`,
      onclick: () => tell({toggle: label}),
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
      const made = JSON.stringify([name, values]) // a panel may offer other values later
      if (!controls.has(made)) {
        const make = values.length > MANY ? dropdown : segmented
        const control = make(`${state.key}-${name}-${controls.size}`, label, values, (chosen) => tell({choose: name, value: chosen}))
        controls.set(made, control)
        choices.append(control.element)
      }
      controls.get(made).set(value)
    }
    const offered = new Set((state.choices ?? []).map(({name, values}) => JSON.stringify([name, values])))
    for (const [made, {element}] of controls) element.hidden = !offered.has(made)
    for (const [element, text] of [[note, state.note], [fact, state.fact]]) {
      setText(element, text ?? "")
      element.hidden = !text
    }
    fact.title = state.about ?? ""
  }

  draw()
  return h("div", {class: "key"}, choices, entries, fact, note)
}

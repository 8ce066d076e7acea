// The sidebar's controls, built once from `spec`; `state` fills in values, errors and hints. A control's text is sent as it is: the server judges it.
const POSITIONS = 240 // of the step size's slider

export function render({model}) {
  const tell = converse(model, draw)
  const spec = model.spec
  const fields = new Map()
  const send = (name, value) => tell({edit: name, value})

  function control(field) {
    const id = `field-${field.name}`
    const common = {id, "data-term": `field.${field.name}`, "aria-description": field.doc, "aria-describedby": `${id}-error`}
    if (field.kind === "choice") {
      const options = field.choices.map(([value, label]) => h("option", {value}, label))
      return h("select", {...common, onchange: (event) => send(field.name, event.target.value)}, options)
    }
    const whole = {type: "number", step: 1, min: field.min, max: field.max, inputmode: "numeric"}
    const kind = field.kind === "whole" ? whole : {type: "text", inputmode: field.kind === "number" ? "decimal" : "text"}
    return h("input", {...common, ...kind, autocomplete: "off", spellcheck: "false", onchange: (event) => send(field.name, event.target.value)})
  }

  function row(field, extra) {
    const input = control(field)
    const unit = field.unit ? h("span", {class: "unit"}, ` (${field.unit})`) : null
    const error = h("p", {class: "refused", id: `${input.id}-error`, role: "alert", hidden: true})
    const element = h("div", {class: "field", "data-field": field.name}, h("label", {for: input.id, "data-term": `field.${field.name}`}, field.label, unit), input, extra, error)
    fields.set(field.name, {field, input, error, element})
    return element
  }

  function section(title, ...content) {
    return h("fieldset", {}, h("legend", {}, title), content)
  }

  // Preset
  const groups = new Map()
  for (const {value, label, group, missing} of spec.presets) {
    if (!groups.has(group)) groups.set(group, h("optgroup", {label: group}))
    groups.get(group).append(h("option", {value, disabled: Boolean(missing), title: missing}, missing ? `${label} (data not found)` : label))
  }
  const custom = h("option", {value: "custom", hidden: true}, "Your own")
  const preset = h("select", {id: "preset", "data-term": "page.preset", onchange: () => tell({preset: preset.value})}, custom, [...groups.values()])
  const look = h("p", {class: "look"})

  // Optimizer
  const {columns, rows, doc} = spec.optimizer
  const cells = rows.flatMap(({label, cells}) => cells.map((cell, column) => {
    const input = h("input", {type: "radio", name: "optimizer", value: cell.value, "aria-label": cell.label, onchange: () => send("optimizer", cell.value)})
    const name = `${cell.label}: ${label}, ${columns[column]}`
    fields.set(`optimizer-${cell.value}`, {input})
    return h("label", {class: "cell", "data-term": `optimizer.${cell.value}`, "data-name": name}, input, h("span", {}, cell.label.replace("Scalar ", "S-")))
  }))
  const grid = h("div", {class: "optimizers", role: "radiogroup", "aria-label": doc},
    columns.map((text) => h("span", {class: "column", "aria-hidden": "true"}, text)), cells)

  // Step size: a slider over its decades beside the number
  const [low, high] = spec.lr.soft.map(Math.log10)
  const slider = h("input", {
    type: "range", min: 0, max: POSITIONS, step: 1, class: "log", "aria-label": `${spec.lr.label}, on a logarithmic scale`, "data-term": "field.lr",
    oninput: () => { lr.input.value = atPosition(slider.value); sayValue() },
    onchange: () => send("lr", atPosition(slider.value)),
  })
  const atPosition = (position) => String(parseFloat((10 ** (low + (high - low) * position / POSITIONS)).toPrecision(2)))
  const sayValue = () => slider.setAttribute("aria-valuetext", lr.input.value)
  const [size, hint] = [h("p", {class: "hint"}), h("p", {class: "hint"})]
  const lrRow = row(spec.lr, slider)
  const lr = fields.get("lr")
  lrRow.classList.add("wide")
  lrRow.append(hint)

  // Check boxes, of which those without the chosen optimizer are hidden, and a place for what was wrong with the choice.
  function boxes(name, entries, changed) {
    const ticked = () => made.filter(({input, element}) => input.checked && !element.hidden).map(({input}) => input.value)
    const error = h("p", {class: "refused", id: `field-${name}-error`, role: "alert", hidden: true})
    const made = entries.map(({value, label, doc, term, stroke, optimizers}) => {
      const input = h("input", {type: "checkbox", value, "aria-description": doc, "aria-describedby": error.id, onchange: () => changed(ticked())})
      const sample = stroke ? swatch(stroke[0], stroke[1], 2.5) : null
      return {input, optimizers, element: h("label", {class: "flow", "data-term": term, title: term ? null : doc}, input, sample, h("span", {}, label))}
    })
    const draw = (chosen, optimizer, sentence) => {
      for (const {input, optimizers, element} of made) {
        input.checked = chosen.includes(input.value)
        element.hidden = Boolean(optimizers) && !optimizers.includes(optimizer)
      }
      setSentence(error, sentence)
      error.hidden = !sentence
    }
    return {elements: made.map(({element}) => element), error, draw}
  }

  // Flows
  const usual = spec.flows.entries.length
  const flows = boxes("flows", [...spec.flows.entries, ...spec.flows.compared], (chosen) => tell({flows: chosen}))
  const [own, others] = [flows.elements.slice(0, usual), flows.elements.slice(usual)]
  const compared = h("div", {class: "flows compared", role: "group", "aria-label": "Flows for comparison"}, h("span", {class: "column", "aria-hidden": "true"}, "For comparison"), others)

  // Observables
  const observe = boxes("observe", spec.observe.entries, (chosen) => send("observe", chosen))

  const changes = h("div", {class: "changes", hidden: true})

  const form = h("form", {class: "sheet", autocomplete: "off", onsubmit: (event) => event.preventDefault()},
    h("div", {class: "field wide preset"}, h("label", {for: "preset", "data-term": "page.preset"}, "Preset"), preset, look),
    section("Problem", h("div", {class: "pair"}, spec.problem.map((field) => row(field))), size),
    section("Optimizer", grid, lrRow, h("div", {class: "pair"}, spec.parameters.map((field) => row(field)))),
    section("Flows", h("div", {class: "flows"}, own), compared, flows.error),
    section("Run", h("div", {class: "pair"}, spec.run.map((field) => row(field)))),
    h("details", {}, h("summary", {}, "More"), h("div", {class: "pair"}, spec.more.map((field) => row(field))),
      h("div", {class: "boxes", role: "group", "aria-label": spec.observe.label}, h("p", {"aria-hidden": "true"}, spec.observe.label), h("div", {class: "flows"}, observe.elements), observe.error)),
    changes)

  function draw() {
    const {values = {}, errors = {}, preset: name = "", flows: shown = [], size: large = "", hint: told = "", changes: changed = [], follows = false} = model.state
    form.inert = follows // the lecturer's controls are shown, not handled
    for (const [key, {field, input, error, element}] of fields) {
      if (!field) { // a cell of the optimizers' grid
        input.checked = values.optimizer === input.value
        continue
      }
      const text = String(values[key])
      const sentence = errors[key] ?? ""
      // A value that was refused stays as it was typed, beside the sentence that says why; one being typed is left alone.
      if (!sentence && input.getRootNode().activeElement !== input) input.value = text
      input.setAttribute("aria-invalid", String(Boolean(sentence)))
      setSentence(error, sentence)
      error.hidden = !sentence
      element.hidden = Boolean(field.when) && !field.when[1].includes(values[field.when[0]])
    }
    const position = (Math.log10(Number(values.lr)) - low) / (high - low) * POSITIONS
    if (slider.getRootNode().activeElement !== slider && Number.isFinite(position)) slider.value = position
    sayValue()
    setText(size, large)
    setText(hint, told)
    preset.value = name
    setText(look, spec.presets.find((entry) => entry.value === name)?.look ?? "")
    look.hidden = !look.textContent
    flows.draw(shown, values.optimizer, errors.flows ?? "")
    compared.hidden = others.every((element) => element.hidden)
    observe.draw(values.observe ?? [], values.optimizer, errors.observe ?? "")
    changes.hidden = !changed.length
    changes.replaceChildren(h("h2", {}, "Changed while running"), h("ul", {}, changed.map((text) => h("li", {}, text))))
  }

  draw()
  return form
}

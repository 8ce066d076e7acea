// The sidebar's controls, built once from `spec`; `state` fills in values, errors and hints. A control's text is sent as it is: the server judges it.
const POSITIONS = 240 // of the step size's slider

export function render({model}) {
  const spec = model.spec
  const fields = new Map()
  const send = (name, value) => model.send_msg({edit: name, value})

  function control(field) {
    const id = `field-${field.name}`
    const common = {id, title: field.doc, "aria-description": field.doc, "aria-describedby": `${id}-error`}
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
    const element = h("div", {class: "field", "data-field": field.name}, h("label", {for: input.id, title: field.doc}, field.label, unit), input, extra, error)
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
  const preset = h("select", {id: "preset", onchange: () => model.send_msg({preset: preset.value})}, custom, [...groups.values()])
  const look = h("p", {class: "look"})

  // Optimizer
  const {columns, rows, doc} = spec.optimizer
  const cells = rows.flatMap(({label, cells}) => cells.map((cell, column) => {
    const input = h("input", {type: "radio", name: "optimizer", value: cell.value, "aria-label": cell.label, onchange: () => send("optimizer", cell.value)})
    const title = `${cell.label}: ${label}, ${columns[column]}`
    fields.set(`optimizer-${cell.value}`, {input})
    return h("label", {class: "cell", title}, input, h("span", {}, cell.label.replace("Scalar ", "S-")))
  }))
  const grid = h("div", {class: "optimizers", role: "radiogroup", "aria-label": doc},
    columns.map((text) => h("span", {class: "column", "aria-hidden": "true"}, text)), cells)

  // Step size: a slider over its decades beside the number
  const [low, high] = spec.lr.soft.map(Math.log10)
  const slider = h("input", {
    type: "range", min: 0, max: POSITIONS, step: 1, class: "log", "aria-label": `${spec.lr.label}, on a logarithmic scale`, title: spec.lr.doc,
    oninput: () => { lr.input.value = atPosition(slider.value); sayValue() },
    onchange: () => send("lr", atPosition(slider.value)),
  })
  const atPosition = (position) => String(parseFloat((10 ** (low + (high - low) * position / POSITIONS)).toPrecision(2)))
  const sayValue = () => slider.setAttribute("aria-valuetext", lr.input.value)
  const hint = h("p", {class: "hint"})
  const lrRow = row(spec.lr, slider)
  const lr = fields.get("lr")
  lrRow.classList.add("wide")
  lrRow.append(hint)

  // Flows
  const boxes = spec.flows.entries.map(({value, label, dash}) => {
    const input = h("input", {type: "checkbox", value, onchange: () => model.send_msg({flows: boxes.filter((box) => box.input.checked).map((box) => box.value)})})
    return {value, input, element: h("label", {class: "flow"}, input, swatch(value, dash, 2.5), h("span", {}, label))}
  })

  const changes = h("div", {class: "changes", hidden: true})

  const form = h("form", {class: "sheet", autocomplete: "off", onsubmit: (event) => event.preventDefault()},
    h("div", {class: "field wide preset"}, h("label", {for: "preset"}, "Preset"), preset, look),
    section("Problem", h("div", {class: "pair"}, spec.problem.map((field) => row(field)))),
    section("Optimizer", grid, lrRow, h("div", {class: "pair"}, spec.parameters.map((field) => row(field)))),
    section("Flows", h("div", {class: "flows", title: spec.flows.doc}, boxes.map((box) => box.element))),
    section("Run", h("div", {class: "pair"}, spec.run.map((field) => row(field)))),
    h("details", {}, h("summary", {}, "More"), h("div", {class: "pair"}, spec.more.map((field) => row(field)))),
    changes)

  function draw() {
    const {values = {}, errors = {}, preset: name = "", flows = [], hint: told = "", changes: changed = []} = model.state
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
    setText(hint, told)
    preset.value = name
    setText(look, spec.presets.find((entry) => entry.value === name)?.look ?? "")
    look.hidden = !look.textContent
    for (const box of boxes) box.input.checked = flows.includes(box.value)
    changes.hidden = !changed.length
    changes.replaceChildren(h("h3", {}, "Changed while running"), h("ul", {}, changed.map((text) => h("li", {}, text))))
  }

  model.on("state", draw)
  draw()
  return form
}

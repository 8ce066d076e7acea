// The toy lab's controls, built once from `spec`; `state` fills in values, what is shown, errors and hints. The server judges every text.
const POSITIONS = 600 // of a slider

export function render({model}) {
  const tell = converse(model, draw)
  const spec = model.spec
  const fields = new Map()

  // One message is under way at a time: when the page has answered it, the next field's newest value leaves.
  const wanted = new Map()
  function edit(name, value) {
    wanted.delete(name)
    wanted.set(name, String(value))
    if (tell.answered()) send()
  }
  function send() {
    const [name, value] = wanted.entries().next().value
    wanted.delete(name)
    tell({edit: name, value})
  }

  // The optimizer's fields have cards; the others say what they are by themselves.
  const taught = (name, doc) => ["lr", "beta1", "beta2", "bias_correction"].includes(name) ? {"data-term": `field.${name}`} : {title: doc}

  function row({name, label, doc, kind, choices, slider}) {
    const id = `field-${name}`
    const common = {id, "aria-describedby": `${id}-error`, "aria-description": doc, ...taught(name, doc), onchange: (event) => edit(name, event.target.value)}
    const input = kind === "choice"
      ? h("select", common, choices.map(([value, text]) => h("option", {value}, text)))
      : h("input", {...common, type: "text", inputmode: kind === "number" ? "decimal" : "text", autocomplete: "off", spellcheck: "false", maxlength: 12000})
    const error = h("p", {class: "refused", id: `${id}-error`, role: "alert", hidden: true})
    const range = slider ? h("input", {type: "range", min: 0, max: POSITIONS, step: 1, "aria-label": `${label}, slider`,
      oninput: () => { input.value = atPosition(name); edit(name, input.value) }}) : null
    const element = h("div", {class: `field ${kind === "text" || slider ? "wide" : ""}`, "data-field": name}, h("label", {for: id, ...taught(name, doc)}, label), input, range, error)
    fields.set(name, {input, range, error, element})
    return element
  }

  // A slider's ends: {low, high, log}. Averages β run towards 1 as 1 − β falls by factors.
  const scaleOf = (name) => model.state.ranges?.[name] ?? {low: 0, high: 1}
  function atPosition(name) {
    const {low, high, kind} = scaleOf(name), share = Number(fields.get(name).range.value) / POSITIONS
    const value = kind === "log" ? low * (high / low) ** share : kind === "beta" ? 1 - (1 - low) * ((1 - high) / (1 - low)) ** share : low + (high - low) * share
    return String(Number(value.toPrecision(kind === "beta" ? 4 : 3)))
  }
  function positionOf(name, value) {
    const {low, high, kind} = scaleOf(name)
    const share = kind === "log" ? Math.log(value / low) / Math.log(high / low) : kind === "beta" ? Math.log((1 - value) / (1 - low)) / Math.log((1 - high) / (1 - low)) : (value - low) / (high - low)
    return POSITIONS * Math.min(Math.max(share, 0), 1)
  }

  function cells(name, label, choices, columns = []) {
    const made = choices.map(([value, text, wide]) => {
      const input = h("input", {type: "radio", name, value, "aria-label": text, onchange: () => edit(name, value)})
      fields.set(`${name}-${value}`, {cell: name, input})
      return h("label", {class: wide ? "cell half" : "cell", "data-term": name === "optimizer" ? `optimizer.${value}` : null}, input, h("span", {}, text.replace("Scalar ", "S-")))
    })
    return h("div", {class: `optimizers ${name}`, role: "radiogroup", "aria-label": label}, columns.map((text) => h("span", {class: "column", "aria-hidden": "true"}, text)), made)
  }

  const math = h("div", {class: "of"})
  const hint = h("p", {class: "hint"})
  const places = h("div", {class: "places", role: "group", "aria-label": "Set η"}, spec.places.map(([name, text]) => {
    const button = h("button", {type: "button", "data-place": name, onclick: () => button.getAttribute("aria-disabled") !== "true" && tell({go: name})}, text)
    return button
  }))
  const section = (title, ...content) => h("fieldset", {}, h("legend", {}, title), content)
  const [lr, ...averages] = spec.optimizer.map(row)
  lr.append(hint)
  const form = h("form", {class: "sheet", autocomplete: "off", onsubmit: (event) => event.preventDefault()},
    section("Loss", cells("loss", "Loss", spec.losses), math, h("div", {class: "pair"}, spec.loss.map(row))),
    section("Optimizer", cells("optimizer", "Optimizer", spec.grid, spec.columns), lr, places, ...averages),
    section("Walk", h("div", {class: "pair"}, spec.walk.map(row))))

  function draw() {
    const {values = {}, errors = {}, shown = [], labels = {}, hint: told = "", math: written = "", places: can = {}, query = ""} = model.state
    for (const [name, {cell, input, range, error, element}] of fields) {
      if (cell) {
        input.checked = values[cell] === input.value
        continue
      }
      const sentence = errors[name] ?? ""
      const active = input.getRootNode().activeElement
      // A value that was refused stays as it was typed, beside the sentence that says why; one being typed is left alone.
      if (!sentence && active !== input) input.value = values[name] ?? ""
      if (range && active !== range) range.value = positionOf(name, Number(values[name]))
      range?.setAttribute("aria-valuetext", values[name] ?? "")
      input.setAttribute("aria-invalid", String(Boolean(sentence)))
      setSentence(error, sentence)
      error.hidden = !sentence
      element.hidden = !shown.includes(name)
      if (labels[name]) setText(element.firstChild, labels[name])
    }
    if (math.dataset.written !== written) {
      math.dataset.written = written
      math.innerHTML = written // MathML of the server's own
    }
    setText(hint, told)
    for (const button of places.children) {
      const why = can[button.dataset.place] ?? "…"
      able(button, why === "")
      button.title = why
    }
    address(query)
    if (wanted.size && tell.answered()) send()
  }

  // The address always says what is shown; `hide` and the like stay.
  function address(query) {
    if (!query) return
    const asked = new URLSearchParams(location.search)
    const kept = ["hide", "type"].filter((name) => asked.has(name)).map((name) => `&${name}=${encodeURIComponent(asked.get(name))}`)
    const url = `${location.pathname}?${query}${kept.join("")}`
    if (url !== location.pathname + location.search) history.replaceState(null, "", url)
  }

  draw()
  return form
}

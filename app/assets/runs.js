// The runs of the shelf: ticked ones are laid over one another; each opens on Explore, and can be deleted.
const UNITS = ["B", "kB", "MB", "GB"]

function bytes(size) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(size, 1)) / 3))
  return `${(size / 1000 ** power).toPrecision(3).replace(/\.0+$|(\.\d*[1-9])0+$/, "$1")} ${UNITS[power]}`
}

export function render({model}) {
  const tell = converse(model, draw)
  const list = h("ul", {class: "runs"})
  const where = h("p", {class: "hint"})
  const flows = h("div", {class: "flows"})
  const rows = new Map()
  let asking = null // the run that is to be deleted, if the visitor says so once more

  function make(entry) {
    const {name, label} = entry
    const box = h("input", {type: "checkbox", onchange: () => tell(box.checked ? {pick: name} : {drop: name})})
    const chip = h("span", {class: "chip", "aria-hidden": "true"})
    const about = h("p", {class: "about"})
    const when = h("span", {})
    const open = h("a", {href: `./?run=${encodeURIComponent(name)}`, target: "_blank", "aria-label": `Open ${label} on Explore`}, "Open")
    const remove = h("button", {type: "button", class: "link", "aria-label": `Delete ${label}`, onclick: () => ask(name)}, "Delete")
    const sure = h("button", {type: "button", class: "danger", onclick: () => { asking = null; tell({delete: name}) }}, "Delete for ever")
    const spare = h("button", {type: "button", onclick: () => { ask(null); remove.focus() }}, "Keep")
    const question = h("div", {class: "question", role: "group", "aria-label": `Delete ${label}?`, hidden: true,
      onkeydown: (event) => { if (event.key === "Escape") { event.stopPropagation(); spare.click() } }}, sure, spare)
    const refused = h("p", {class: "refused", hidden: true})
    const element = h("li", {}, h("label", {class: "run"}, box, chip, h("b", {title: label}, label)), about, refused,
      h("div", {class: "acts"}, when, open, remove), question)
    return {element, box, chip, about, when, open, remove, question, sure, refused}
  }

  function ask(name) {
    asking = name
    draw()
    if (name) rows.get(name).sure.focus()
  }

  function draw() {
    const {entries = [], folder = "", known = false, most = 0, picked = []} = model.state
    setText(where, known ? `${entries.length === 1 ? "1 run" : `${entries.length} runs`} in ${folder}` : "Looking …")
    for (const entry of entries) {
      if (!rows.has(entry.name)) rows.set(entry.name, make(entry))
      const row = rows.get(entry.name)
      row.box.checked = picked.includes(entry.name)
      const full = picked.length === most && !row.box.checked
      row.box.disabled = Boolean(entry.problem) || full
      row.box.title = full ? `At most ${most} runs are laid over one another: untick one first` : ""
      row.chip.style.background = entry.color ? `var(--${entry.color})` : ""
      row.element.classList.toggle("on", Boolean(entry.color))
      setText(row.about, entry.about)
      setText(row.when, `${entry.steps.toLocaleString("en")} steps · ${bytes(entry.size)}`)
      row.when.title = `Begun ${entry.when} UTC`
      row.when.hidden = row.open.hidden = row.about.hidden = Boolean(entry.problem)
      setSentence(row.refused, entry.problem)
      row.refused.hidden = !entry.problem
      row.question.hidden = asking !== entry.name
      row.remove.hidden = asking === entry.name
    }
    const shown = entries.map(({name}) => rows.get(name).element)
    if (shown.length !== list.children.length || shown.some((element, i) => element !== list.children[i])) list.replaceChildren(...shown)
    for (const name of rows.keys()) if (!entries.some((entry) => entry.name === name)) rows.delete(name)
    drawFlows()
    // The address names what is compared, so that it can be shared, and the page read again.
    const query = new URLSearchParams(picked.map((name) => ["run", name])).toString()
    if (known && query !== location.search.slice(1)) history.replaceState(null, "", query ? `?${query}` : location.pathname)
  }

  function drawFlows() {
    const state = model.state.flows ?? []
    if (!flows.children.length) {
      flows.append(...state.map(({value, label, color, dash}) => {
        const box = h("input", {type: "checkbox", value, onchange: () => tell({flows: [...flows.querySelectorAll("input:checked")].map(({value}) => value)})})
        return h("label", {class: "flow"}, box, swatch(color, dash), label)
      }))
    }
    for (const [i, box] of [...flows.querySelectorAll("input")].entries()) box.checked = state[i].on
  }

  draw()
  return h("div", {class: "sheet"},
    h("fieldset", {}, h("legend", {}, "Curves"), flows),
    h("fieldset", {}, h("legend", {}, "Runs"), where, list))
}

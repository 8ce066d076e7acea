// What holds for all panels: how much is smoothed, how many steps are shown, and a way back to the newest.
export function render({model}) {
  const tell = converse(model, draw)
  const smoothing = h("input", {
    type: "number", id: "smoothing", min: 0, max: 100, step: 5, "data-term": "page.smoothing",
    onchange: () => tell({smoothing: smoothing.value}),
  })
  const shown = segmented("span", "Steps shown", model.state.spans.map(([value, text]) => [value, text, "page.span"]), (value) => tell({span: value}))
  const unit = segmented("unit", "The horizontal axis counts", model.state.units.map(([value, text]) => [value, text, `page.${value}`]), (value) => tell({unit: value}))
  const follow = h("button", {type: "button", class: "follow", title: "Show the newest steps again, with limits that fit", onclick: () => tell({follow: true})}, "Follow")

  // The picture is made in the page, of what stands there (figure.js).
  const panels = [...document.querySelectorAll("article.card")].map(({id, ariaLabel}) => [ariaLabel, id])
  const picture = (title, panel, type) => h("button", {type: "button", class: "plain", "aria-label": `${title} as ${type}`,
    onclick: () => { save.open = false; window.cflowsSave(type.toLowerCase(), panel) }}, type)
  const row = ([title, panel]) => [h("span", {}, title), picture(title, panel, "PNG"), picture(title, panel, "SVG")]
  const save = h("details", {class: "save"}, h("summary", {title: "Save plots as pictures"}, "Save"),
    h("div", {}, [["All plots"], ...panels].flatMap(row)))
  save.addEventListener("focusout", (event) => { if (!save.contains(event.relatedTarget)) save.open = false })
  save.addEventListener("keydown", (event) => { if (event.key === "Escape") { save.open = false; save.firstChild.focus() } })

  function draw() {
    const {smoothing: width = 0, span, unit: counted, following = true} = model.state
    if (smoothing.getRootNode().activeElement !== smoothing) smoothing.value = width
    shown.set(span)
    unit.set(counted)
    hide(follow, following, save.firstChild)
  }

  draw()
  return h("div", {class: "tools"},
    h("label", {for: "smoothing", "data-term": "page.smoothing"}, "Smoothing"), smoothing, shown.element, unit.element, save, follow)
}

// What a lecturer handles, by mouse and by key: a presenter's remote sends Page Up and Page Down. The address always names the step.
const SMALLEST = 70, LARGEST = 250, STEP = 10 // per cent

export function render({model}) {
  const tell = converse(model, draw)
  const root = document.documentElement
  const asked = new URLSearchParams(location.search)
  const button = (label, help, act, ...inside) => h("button", {type: "button", title: help, "aria-label": label, onclick: () => act()}, inside.length ? inside : label)

  const go = (by) => tell({go: Math.min(Math.max((model.state.at ?? 0) + by, 0), (model.state.count ?? 1) - 1)})
  const reveal = () => tell({reveal: true})
  const back = button("Back", "The step before (←)", () => go(-1), "←")
  const next = button("Next", "The next step (→)", () => go(1), "→")
  const place = h("span", {class: "number"})
  const shows = button("Reveal", "Show the answer (space)", reveal)
  const compute = button("Compute it now", "Compute this run before your eyes, from its beginning", () => tell({compute: true}))
  const told = h("span", {class: "what"})
  const explore = h("a", {target: "cflows-explore", title: "This configuration with all controls"}, "Open in Explore")
  const full = button("Full screen", "Full screen (f)", () => document.fullscreenElement ? document.exitFullscreen() : root.requestFullscreen())
  const handout = button("Handout", "All steps on one page, to print or to keep", async () => {
    if (!model.state.lesson) return
    handout.disabled = true
    try {
      const page = await window.cflowsOnPaper(() => makeHandout(model, tell, (place) => setText(handout, place)))
      const href = URL.createObjectURL(new Blob([page], {type: "text/html"}))
      if (!window.open(href, "_blank")) h("a", {href, download: `${model.state.lesson}.html`}).click() // the browser allows no other window
    } finally {
      handout.disabled = false
      setText(handout, "Handout")
    }
  })

  let size = Number(asked.get("type")) || 100
  function resize(to) {
    size = Math.min(Math.max(to, SMALLEST), LARGEST)
    root.style.setProperty("--type", size / 100)
    letterAxes()
    address()
    window.dispatchEvent(new Event("resize"))
  }
  // Bokeh draws its letters itself.
  function letterAxes() {
    const font = `${Math.round(0.11 * size)}px`
    for (const document of window.Bokeh?.documents ?? []) {
      for (const model of document.all_models ?? document._all_models.values()) {
        if (model.properties.major_label_text_font_size) model.setv({axis_label_text_font_size: font, major_label_text_font_size: font}, {sync: false})
      }
    }
  }
  const smaller = button("Smaller type", "Smaller type (−)", () => resize(size - STEP), "A−")
  const larger = button("Larger type", "Larger type (+)", () => resize(size + STEP), "A+")

  function address() {
    const {lesson, at = 0} = model.state
    if (!lesson) return
    const query = new URLSearchParams({lesson, step: at + 1})
    if (asked.get("hide")) query.set("hide", asked.get("hide"))
    if (size !== 100) query.set("type", size)
    const url = `${location.pathname}?${query}`
    if (url !== location.pathname + location.search) history.replaceState(null, "", url)
  }

  onKeys({
    ArrowRight: () => go(1), PageDown: () => go(1), ArrowLeft: () => go(-1), PageUp: () => go(-1), Home: () => tell({go: 0}), End: () => go(model.state.count),
    " ": () => model.state.reveals ? reveal() : go(1), f: () => full.click(), "+": () => resize(size + STEP), "=": () => resize(size + STEP), "-": () => resize(size - STEP), 0: () => resize(100),
  })

  function draw() {
    const {lesson = "", at = 0, count = 1, reveals = false, run = "", about = "", explore: there = ""} = model.state
    setText(place, `${at + 1} / ${count}`)
    able(back, at > 0)
    able(next, at < count - 1)
    able(handout, Boolean(lesson))
    hide(shows, !reveals, next)
    shows.classList.toggle("primary", reveals)
    next.classList.toggle("primary", !reveals)
    hide(compute, !(run === "stored" || run === "done"), next)
    setText(told, {stored: "stored run", starting: "starting …", running: "computing …", done: "computed now"}[run] ?? "")
    told.title = about
    explore.hidden = !there
    explore.href = there || "./"
    address()
  }

  window.cflowsDrawn = () => tell.answered() && model.state.drawn // whether the step stands still, for those who take pictures of it

  resize(size)
  draw()
  if (size !== 100) {
    const waiting = setInterval(() => { if (root.dataset.ready) { clearInterval(waiting); letterAxes() } }, 50)
  }
  return h("div", {class: "lectern"},
    h("div", {class: "turn", role: "group", "aria-label": "Steps"}, back, place, next, shows),
    h("div", {class: "live"}, compute, told),
    h("div", {class: "stage"}, explore, handout, h("span", {role: "group", "aria-label": "Size of the type"}, smaller, larger), full))
}

// In the page under test: which controls it has, which of them were used, and what is wrong with where they stand.
window.controls = (() => {
  const WANTED = "a[href], button, input:not([readonly]), select, summary, textarea:not([readonly])"
  const ARROW = 20 // pixels that a list's arrow takes
  const used = new Set()

  const up = (element) => element.parentElement ?? element.getRootNode().host ?? null // out of shadow roots, too
  function around(element, wanted) { // the nearest that is `wanted`, or matches it
    for (let at = element; at; at = up(at)) if (at === wanted || (typeof wanted === "string" && at.matches(wanted))) return at
    return null
  }

  function all(root = document) {
    return [...root.querySelectorAll("*")].flatMap((element) => [...(element.matches(WANTED) ? [element] : []), ...(element.shadowRoot ? all(element.shadowRoot) : [])])
  }

  function name(element) {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent.trim()).join(" ")
    const panel = around(element, "article")
    return `${panel ? `${panel.id}: ` : ""}${element.getAttribute("aria-label") || labels || element.textContent.trim()}`
  }

  const shown = (element) => element.checkVisibility({visibilityProperty: true}) && element.getClientRects().length && !around(element, "[inert]")

  function at(x, y) {
    let found = document.elementFromPoint(x, y), inner
    while ((inner = found?.shadowRoot?.elementFromPoint(x, y)) && inner !== found) found = inner
    return found
  }

  const pen = document.createElement("canvas").getContext("2d")
  function tooLong(select) { // a select's own widths tell nothing of its text
    const {fontSize, fontFamily, paddingLeft, paddingRight, fieldSizing} = getComputedStyle(select)
    if (fieldSizing === "content") return false
    pen.font = `${fontSize} ${fontFamily}`
    return pen.measureText(select.selectedOptions[0].textContent).width + parseFloat(paddingLeft) + parseFloat(paddingRight) + ARROW > select.clientWidth
  }

  function fault(element) {
    element.scrollIntoView({block: "center", inline: "nearest", behavior: "instant"})
    const {left, right, top, bottom} = element.getBoundingClientRect()
    if (left < -1 || top < -1 || right > innerWidth + 1 || bottom > innerHeight + 1) return "reaches out of the window"
    const hit = at((left + right) / 2, (top + bottom) / 2)
    const own = [element, ...(element.labels ?? [])]
    if (!own.some((part) => around(hit, part))) return `lies under ${hit?.outerHTML.slice(0, 80)}`
    const written = element.matches("button, summary") ? [element] : [...(element.labels ?? [])].flatMap((label) => [...label.querySelectorAll("span")])
    if (element.matches("select") && tooLong(element)) return "cuts its text"
    return written.some((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth) ? "cuts its text" : null
  }

  for (const type of ["click", "input", "change"]) {
    window.addEventListener(type, (event) => {
      for (const part of event.composedPath()) if (part instanceof Element && part.matches(WANTED)) used.add(name(part))
    }, true)
  }

  return {
    names: () => all().map(name),
    used: () => [...used],
    // A number that differs with what is painted.
    picture(canvas) {
      const copy = Object.assign(document.createElement("canvas"), {width: canvas.width, height: canvas.height}).getContext("2d", {willReadFrequently: true})
      copy.drawImage(canvas, 0, 0)
      const {data} = copy.getImageData(0, 0, canvas.width, canvas.height)
      return new Uint32Array(data.buffer).reduce((sum, pixel) => (31 * sum + pixel) | 0, 0)
    },
    // The same once it has stood still: what was done before may still be under way, and then nothing tells the two apart.
    async settled(canvas) {
      let seen
      do {
        seen = this.picture(canvas)
        await new Promise((done) => setTimeout(done, 400))
      } while (this.picture(canvas) !== seen)
      return seen
    },
    // Of the controls within `selector`: what a visitor could not see, reach or read.
    faults(selector) {
      const here = all().filter((element) => shown(element) && around(element, selector) && !element.matches(".skip"))
      const found = here.map((element) => [name(element), fault(element)]).filter(([, wrong]) => wrong).map(([of, wrong]) => `${of}: ${wrong}`)
      if (document.documentElement.scrollWidth > innerWidth) found.push("the page scrolls sideways")
      for (const panel of document.querySelectorAll("article")) {
        const title = panel.querySelector("h2").getBoundingClientRect()
        for (const element of all(panel).filter((element) => shown(element) && around(element, ".choices"))) {
          const box = element.getBoundingClientRect()
          if (box.left < title.right && box.top < title.bottom && box.bottom > title.top) found.push(`${name(element)}: lies on the panel's title`)
        }
      }
      return found
    },
  }
})()

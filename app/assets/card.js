// The cards that teach: whatever says `data-term`, on the page or in a component's shadow root, shows its card when pointed at or focused.
(function () {
  const terms = JSON.parse(document.getElementById("cards").textContent)
  const card = document.getElementById("teach")
  const [REST, LEAVE] = [450, 160] // milliseconds before a card comes, and before it goes
  let owner = null, coming = 0, going = 0
  let byKey = true // the last thing done, by the keyboard: a click into a field is no wish for its card

  const termed = (event) => event.composedPath().find((element) => element.dataset?.term && terms[element.dataset.term])
  const part = (tag, text) => { const element = document.createElement(tag); element.textContent = text; return element }

  function show(element) {
    clearTimeout(coming)
    clearTimeout(going)
    if (!element.isConnected) return
    const {title, math, unit, text, source} = terms[element.dataset.term]
    const maths = document.createElement("div")
    maths.className = "maths"
    maths.innerHTML = math // ours (glossary.py)
    const foot = [unit && `Unit: ${unit}`, source].filter(Boolean).join(" · ")
    card.replaceChildren(part("b", element.dataset.name ?? title), ...(math ? [maths] : []), part("p", text), ...(foot ? [part("small", foot)] : []))
    owner = element
    card.hidden = false
    const [box, own] = [element.getBoundingClientRect(), card.getBoundingClientRect()]
    const below = box.bottom + 6 + own.height <= innerHeight || box.top - 6 - own.height < 0
    card.style.left = `${Math.max(8, Math.min(box.left, innerWidth - own.width - 8))}px`
    card.style.top = `${Math.max(8, below ? Math.min(box.bottom + 6, innerHeight - own.height - 8) : box.top - 6 - own.height)}px`
  }

  function hide() {
    clearTimeout(coming)
    clearTimeout(going)
    owner = null
    card.hidden = true
  }

  function over(event) {
    if (event.composedPath().includes(card)) return clearTimeout(going) // a card may be read, and its formula scrolled
    const element = termed(event)
    // A finger that presses a button or opens a list wants that, not its explanation: titles and labels have the cards on a phone.
    if (event.pointerType === "touch" || (element && element === owner)) return clearTimeout(going)
    clearTimeout(coming)
    clearTimeout(going)
    if (element) coming = setTimeout(() => show(element), card.hidden ? REST : LEAVE)
    if (owner && !element) going = setTimeout(hide, LEAVE)
  }

  function focused(event) {
    const element = termed(event)
    if (!element) return
    // For screen readers, which see no card: at once, before they read what has the focus.
    const target = event.composedPath()[0]
    if (!target.hasAttribute("aria-description")) target.setAttribute("aria-description", terms[element.dataset.term].text)
    if (!byKey) return
    clearTimeout(coming)
    coming = setTimeout(() => show(element), LEAVE)
  }

  // What moves within a component's shadow root is told there alone: so each is listened to, from when it is first entered.
  const heard = new WeakSet(), answered = new WeakSet()
  function listen(root) {
    if (heard.has(root)) return
    heard.add(root)
    for (const [name, answer] of [["pointerover", over], ["focusin", focused], ["focusout", hide]]) {
      root.addEventListener(name, (event) => {
        for (const part of event.composedPath()) if (part instanceof ShadowRoot) listen(part)
        if (answered.has(event)) return
        answered.add(event)
        answer(event)
      })
    }
  }
  listen(document)

  document.addEventListener("pointerdown", (event) => {
    byKey = false
    if (event.composedPath().includes(card)) return
    hide()
    const element = termed(event)
    if (event.pointerType === "touch" && element && !element.matches("button, input, select, .cell, .segmented label")) coming = setTimeout(() => show(element), LEAVE)
  })
  document.addEventListener("input", hide)
  document.addEventListener("keydown", (event) => {
    byKey = true
    if (event.key !== "Escape" || card.hidden) return
    hide()
    event.stopImmediatePropagation() // the configuration stays open
  }, true)
  document.addEventListener("scroll", (event) => { if (event.target !== card && !card.contains(event.target)) hide() }, true)
  document.documentElement.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide() })
})()

// Share, Keep, Export, Code, Lecture: buttons, each with a popover that the browser closes by Escape or a click elsewhere.
const FILES = [
  ["csv", "CSV", "A table, one row for every step of every flow."],
  ["netcdf", "NetCDF", "Arrays over flow and step, with units."],
  ["zarr", "Zarr", "The whole run, zipped: cflows opens and continues it."],
]
const SAID_FOR = 2500 // milliseconds that a button says what it did

export function render({model}) {
  const tell = converse(model, draw)
  const open = (name, label, help, begin) => {
    const button = h("button", {type: "button", title: help, "aria-haspopup": "dialog", "aria-expanded": "false"}, label)
    const pop = h("div", {class: "pop", popover: "auto", role: "dialog", "aria-label": label, id: `pop-${name}`})
    button.popoverTargetElement = pop // so that a second click closes it
    pop.addEventListener("beforetoggle", (event) => {
      const opens = event.newState === "open"
      button.setAttribute("aria-expanded", String(opens))
      if (opens) place(button, pop)
      else if (pop.contains(pop.getRootNode().activeElement)) button.focus() // the browser would not find it in this shadow root
    })
    pop.addEventListener("toggle", (event) => { if (event.newState === "open") begin?.() })
    return {button, pop}
  }

  // Above its button, within the window.
  function place(button, pop) {
    const {left, top} = button.getBoundingClientRect()
    const width = Math.min(pop.classList.contains("wide") ? 600 : 380, innerWidth - 24)
    pop.style.width = `${width}px`
    pop.style.left = `${Math.max(12, Math.min(left, innerWidth - width - 12))}px`
    pop.style.bottom = `${innerHeight - top + 8}px`
    pop.style.maxHeight = `${Math.max(160, top - 20)}px`
  }

  // Whether the text is in the clipboard now; where a browser does not let us, the field's text is selected for the visitor to copy.
  async function copy(text, field) {
    try {
      await navigator.clipboard.writeText(text)
      return true
    } catch {
      field.focus()
      field.select()
      return false
    }
  }
  const byHand = "The browser does not let this page copy. The text is selected: press Ctrl+C, or ⌘C."

  // Share
  const address = h("input", {type: "text", readonly: true, "aria-label": "Address of this run", onfocus: () => address.select()})
  const shared = h("p", {role: "status"})
  const share = open("share", "Share", "Copy an address that gives this run again", async () => {
    address.value = model.state.query ? `${location.origin}${location.pathname}?${model.state.query}` : ""
    address.hidden = !address.value
    setText(shared, "")
    if (!address.value) return setText(shared, model.state.too_long)
    setText(shared, await copy(address.value, address) ? "Copied. This address opens the same run, with every change made while it ran." : byHand)
    address.focus()
  })
  share.pop.append(h("h2", {}, "Share"), address, shared)

  // Keep
  const named = h("input", {type: "text", id: "keep-name", maxlength: 80, autocomplete: "off", spellcheck: "false", onkeydown: (event) => { if (event.key === "Enter") keepIt() }})
  const keptAs = h("p", {role: "status"})
  const keeps = h("button", {type: "button", onclick: () => keepIt()}, "Keep it")
  const keep = open("keep", "Keep", "Store this run on the server's disk", () => {
    named.value = model.state.name ?? ""
    setText(keptAs, "")
    draw()
    named.select()
  })
  keep.pop.append(h("h2", {}, "Keep this run"), h("label", {for: "keep-name", class: "hint"}, "Name"), h("div", {class: "ask"}, named, keeps), keptAs)
  let keeping = false, tries = 0

  function keepIt() {
    if (keeping) return // a double click keeps once
    keeping = true
    setText(keptAs, "Storing …")
    tell({keep: named.value})
  }

  function sayKept([, name, problem]) {
    if (!keeping) return
    keeping = false
    if (problem) return setSentence(keptAs, problem)
    delete keptAs.dataset.text
    keptAs.replaceChildren(`Kept as ${name}: it opens and goes on from `, h("a", {href: "compare", target: "cflows-compare"}, "Compare"), ".")
  }

  // Export
  const told = h("p", {role: "status"})
  const files = FILES.map(([form, label, about]) => ({form, label, button: h("button", {type: "button", class: "file", onclick: () => save(form, label)}, h("b", {}, label), h("span", {}, about))}))
  const exporting = open("export", "Export", "Save what is on screen as a file", () => { setText(told, ""); draw() })
  exporting.pop.append(h("h2", {}, "Export what is on screen"), h("div", {class: "files"}, files.map(({button}) => button)), told)
  let saving = false

  async function save(form, label) {
    if (saving) return
    saving = true
    const name = model.state.files[form]
    setText(told, `Writing ${name} …`)
    try {
      const answer = await fetch(`export/${model.state.ticket}/${form}`)
      if (!answer.ok) return setText(told, await answer.text())
      const link = h("a", {href: URL.createObjectURL(await answer.blob()), download: name})
      link.click()
      setTimeout(() => URL.revokeObjectURL(link.href), 60000)
      setText(told, `Saved ${name}.`)
    } catch {
      setText(told, `${label} could not be fetched: the connection to the server is lost. Start cflows again if it was stopped, then reload this page.`)
    } finally {
      saving = false
    }
  }

  // Code
  const blocks = [["python", "Python"], ["command", "Command line"]].map(([key, label]) => {
    const text = h("textarea", {readonly: true, class: "code", spellcheck: "false", wrap: key === "python" ? "off" : "soft", "aria-label": label})
    const said = h("span", {role: "status", class: "hint"})
    const button = h("button", {type: "button", "aria-label": `Copy the ${key === "python" ? "Python script" : "command line"}`, onclick: async () => {
      setText(said, await copy(text.value, text) ? "Copied." : byHand)
      setTimeout(() => setText(said, ""), SAID_FOR * 2)
    }}, "Copy")
    return {key, text, element: h("section", {}, h("div", {class: "head"}, h("h2", {}, label), said, button), text)}
  })
  const code = open("code", "Code", "A script and a command line that give this run again", () => blocks.forEach(({text}) => fit(text)))
  code.pop.classList.add("wide")
  code.pop.append(...blocks.map(({element}) => element), h("p", {class: "hint"}, "Either gives the run on screen to the bit, on the same machine, with every change made while it ran."))

  // Lecture
  const link = h("input", {type: "text", readonly: true, "aria-label": "Link for the audience", onfocus: () => link.select()})
  const linkSaid = h("p", {role: "status"})
  const air = h("button", {type: "button", onclick: () => { setText(linkSaid, ""); tell({lecture: !model.state.lecture?.key}) }})
  const copyLink = h("button", {type: "button", onclick: async () => setText(linkSaid, await copy(link.value, link) ? "Copied." : byHand)}, "Copy the link")
  const about = h("p", {class: "hint"})
  const alone = h("p", {class: "hint"}, "This address is for this computer alone. For an audience, start cflows with --public (docs/operating.md).")
  const lecture = open("lecture", "Lecture", "Let others follow on their own screens what you do here")
  lecture.pop.append(h("h2", {}, "Lecture"), about, link, alone, h("div", {class: "ask"}, copyLink, air), linkSaid)

  function drawLecture() {
    const {key, secret, followers = 0, follows} = model.state.lecture ?? {}
    lecture.button.hidden = Boolean(follows)
    lecture.button.classList.toggle("on", Boolean(key))
    link.hidden = copyLink.hidden = !key
    setText(air, key ? "End the lecture" : "Begin a lecture")
    setText(about, key
      ? `On: ${followers === 1 ? "one person follows" : `${followers} people follow`}. If this page is loaded again, the lecture goes on.`
      : "Whoever opens its link sees the run on this page, live, and what you change. They cannot change it, but may fork it.")
    alone.hidden = !key || !/^(localhost|127\.|\[::1\])/.test(location.hostname)
    if (key) link.value = `${location.origin}${location.pathname}?follow=${key}`
    if (followed && !follows) history.replaceState(null, "", `?${model.state.query}`) // it is one's own now: a reload shows it again
    followed = follows
    if (secret === given) return
    given = secret
    const address = new URL(location.href)
    if (key) address.search = `?lecture=${secret}` // so that loading the page again goes on with the lecture
    else address.searchParams.delete("lecture")
    history.replaceState(null, "", address)
  }
  let given, followed

  // As high as its text, where it is shown.
  function fit(text) {
    text.style.height = "auto"
    text.style.height = `${text.scrollHeight + 2}px`
  }

  function draw() {
    const {lacks = "", kept = [0, "", ""]} = model.state
    keeps.disabled = Boolean(lacks)
    if (lacks && keep.pop.matches(":popover-open")) setText(keptAs, lacks)
    if (kept[0] !== tries) sayKept(kept)
    tries = kept[0]
    for (const {button} of files) button.disabled = Boolean(lacks)
    if (lacks || told.textContent === told.dataset.lacks) setText(told, lacks)
    told.dataset.lacks = lacks
    drawLecture()
    for (const {key, text} of blocks) {
      const value = model.state[key] ?? ""
      if (text.value === value) continue
      text.value = value
      fit(text)
    }
  }

  draw()
  const parts = [share, keep, exporting, code, lecture]
  // Escape closes the popover, and not the drawer around it as well.
  const inside = (event) => { if (event.key === "Escape" && parts.some(({pop}) => pop.matches(":popover-open"))) event.stopPropagation() }
  return h("div", {class: "take", role: "group", "aria-label": "Take along", onkeydown: inside}, parts.map(({button}) => button), parts.map(({pop}) => pop))
}

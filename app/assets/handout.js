// All steps of a lesson as one document that stands alone, to print or to keep: each step is turned to, and its words and pictures are taken.
const HANDOUT_STYLE = `
  body { max-width: 178mm; margin: 10mm auto; color: #1f2328; font: 11pt/1.45 system-ui, sans-serif; }
  h1 { font-size: 20pt; margin: 0 0 4mm; } h2 { font-size: 14pt; margin: 0 0 2mm; }
  section { break-inside: avoid; margin: 0 0 9mm; padding-top: 4mm; border-top: 0.3mm solid #ccc; }
  .pictures { display: flex; flex-wrap: wrap; gap: 3mm; } .pictures > svg { flex: 1 1 100%; width: 100%; height: auto; border: 0.2mm solid #ddd; }
  .source, .intro { color: #5c6570; font-size: 9pt; } table { border-collapse: collapse; } th, td { padding: 0 4mm 0 0; text-align: left; }
  ul.answers { list-style: "○  "; } ul.answers .right { list-style: "●  "; font-weight: 600; } math { font-size: 1.08em; }
  @page { margin: 12mm; } @media print { body { margin: 0; } }`

async function makeHandout(model, tell, say) {
  const {at, count} = model.state
  const sections = []
  try {
    for (let step = 0; step < count; step += 1) {
      say(`${step + 1} / ${count}`)
      tell({go: step, whole: true})
      await until(() => tell.answered() && model.state.drawn)
      const {title, intro, words, answers, reveals, panels} = window.cflowsStep()
      const pictures = []
      for (const panel of panels) pictures.push((await window.cflowsPicture(panel)).replace(/<\?xml[^>]*>/, ""))
      const list = answers.map(([html, right]) => `<li class="${right ? "right" : ""}">${html}</li>`).join("")
      sections.push(`<section><h2>${step + 1}. ${title}</h2>${intro ? `<div class="intro">${intro}</div>` : ""}${words}${list ? `<ul class="answers">${list}</ul>` : ""}${reveals}<div class="pictures">${pictures.join("")}</div></section>`)
    }
  } finally {
    tell({go: at})
  }
  const {lesson} = window.cflowsStep()
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${lesson}</title><style>${HANDOUT_STYLE}</style></head><body><h1>${lesson}</h1>${sections.join("")}</body></html>`
}

// Until something holds, and what it changed is on the screen.
async function until(holds) {
  while (!holds()) await new Promise((done) => setTimeout(done, 50))
  for (let frame = 0; frame < 4; frame += 1) await new Promise((done) => requestAnimationFrame(done))
}

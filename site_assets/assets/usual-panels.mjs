/** The panels that most pages have, in one file: as many small ones would be a third larger. */
import { panel as ablation } from "./panels/ablation.mjs"
import { panel as labels } from "./panels/labels.mjs"
import { panel as latents } from "./panels/latents.mjs"
import { panel as logits } from "./panels/logits.mjs"
import { panel as neighbours } from "./panels/neighbours.mjs"
import { panel as profiles } from "./panels/profiles.mjs"
import { panel as write } from "./panels/write.mjs"

/** @type {Record<string, import("./panels.mjs").Panel>} by name */
export const usual = { ablation, labels, latents, logits, neighbours, profiles, write }

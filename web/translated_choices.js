// Tooltips in the page's language where they are taken from the definition alone: those of the widgets that a choice
// shows, and that of the choice of a look, of which shown_widgets.js shows a part.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const PREFIX = "DeepDream";
const CHOICE = "COMFY_DYNAMICCOMBO_V3";

function* inputsOf(groups) {
  for (const group of [groups?.required, groups?.optional]) yield* Object.entries(group ?? {});
}

app.registerExtension({
  name: "DeepDream.TranslatedChoices",
  async addCustomNodeDefs(definitions) {
    const language = app.ui.settings.getSettingValue("Comfy.Locale");
    const nodes = (await (await api.fetchApi("/i18n")).json())[language]?.nodeDefs ?? {};
    for (const [id, { inputs }] of Object.entries(nodes)) {
      if (!id.startsWith(PREFIX)) continue;
      const look = definitions[id]?.input?.optional?.look?.[1];
      if (look) look.tooltip = inputs.look?.tooltip ?? look.tooltip;
      for (const [choice, [kind, { options } = {}]] of inputsOf(definitions[id]?.input)) {
        if (kind !== CHOICE) continue;
        for (const [name, [, shown]] of options.flatMap((option) => [...inputsOf(option.inputs)])) {
          shown.tooltip = inputs[`${choice}_${name}`]?.tooltip ?? shown.tooltip;
        }
      }
    }
  },
});

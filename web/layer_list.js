// Below the widgets of Dream Objective, a list of the layers of its network: choosing one adds it to the text of
// layers, choosing it again takes it out. Any other text can be typed there.
import { app } from "../../scripts/app.js";

const OBJECTIVE = "DeepDreamObjective";
const LOADER = "DeepDreamLoadDreamModel";
const AUTO = "auto";
const CUSTOM = "custom"; // the choice of a look that is none
const NOTHING = "…"; // what the list shows
const LABELS = { ja: "レイヤーを選ぶ", zh: "选择层", "zh-TW": "選擇層" };

let layersOf = {}; // network -> names of its layers, from shallow to deep

const valueOf = (node, name) => node.widgets?.find((widget) => widget.name === name)?.value;

function optionsOf(definition, name) {
  return { ...definition?.input?.required, ...definition?.input?.optional }[name]?.[1];
}

// The network that auto means on this server.
function autoNetwork() {
  return optionsOf(LiteGraph.registered_node_types[LOADER]?.nodeData, "model")?.[AUTO];
}

function sourceOf(node, name) {
  const link = node.graph.getLink?.(node.inputs?.find((input) => input.name === name)?.link);
  return link && node.graph.getNodeById(link.origin_id);
}

function targetsOf(node) {
  const links = (node.outputs ?? []).flatMap((output) => output.links ?? []);
  return links.map((id) => node.graph.getLink(id)).map((link) => link && node.graph.getNodeById(link.target_id));
}

// The network of a node that dreams: the loader's that is connected, else the look's.
function networkOf(node) {
  const loader = sourceOf(node, "dream_model");
  if (loader) return loader.comfyClass === LOADER ? valueOf(loader, "model") : AUTO;
  const look = valueOf(node, "look");
  return look && look !== CUSTOM ? optionsOf(node.constructor.nodeData, "look")?.networks?.[look] : AUTO;
}

// The networks of all nodes that an objective reaches, through other objectives too.
function networks(node, seen = new Set()) {
  if (seen.has(node)) return [];
  seen.add(node);
  return targetsOf(node).flatMap((target) => {
    if (!target) return [];
    const goesOn = target.comfyClass === OBJECTIVE || target.type === "Reroute";
    return goesOn ? networks(target, seen) : [networkOf(target)];
  });
}

function layers(node) {
  const [network = AUTO] = networks(node);
  return layersOf[network === AUTO ? autoNetwork() : network] ?? [];
}

// A text with a layer added, or taken out with its weight.
function toggled(text, layer) {
  const entries = text.split(/[\s,]+/).filter(Boolean);
  const others = entries.filter((entry) => entry.split(":")[0] !== layer);
  return (others.length < entries.length ? others : [...entries, layer]).join(" ");
}

app.registerExtension({
  name: "DeepDream.LayerList",
  async setup() {
    layersOf = await (await fetch(new URL("./layers.json", import.meta.url))).json();
  },
  nodeCreated(node) {
    if (node.comfyClass !== OBJECTIVE) return;
    const text = node.widgets.find((widget) => widget.name === "layers");
    const choose = (layer) => {
      if (layer === NOTHING) return;
      text.value = toggled(text.value, layer);
      text.callback?.(text.value, app.canvas, node);
      list.value = NOTHING;
      node.setDirtyCanvas?.(true, true);
    };
    // The last widget and not saved: saved values are known by their places.
    const values = () => [NOTHING, ...layers(node)];
    const list = node.addWidget("combo", "choose_layer", NOTHING, choose, { values, serialize: false });
    list.serialize = false;
    list.incrementValue = list.decrementValue = () => {}; // its arrows would choose too
    list.label = LABELS[app.ui.settings.getSettingValue("Comfy.Locale")] ?? "choose a layer";
    node.setSize([node.size[0], node.computeSize()[1]]);
  },
});

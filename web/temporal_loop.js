// Shows only the carried outputs of a temporal loop that are in use. The server defines all that there can be.
import { app } from "../../scripts/app.js";

const CARRIED = /(?:^|\.)carried_(\d+)$/;
const OUTPUT_LISTS = ["output", "output_name", "output_is_list", "output_tooltips", "output_matchtypes"];

// Node id -> number of its outputs, before the carried ones and in all. Read from the server's definitions.
const outputs = { DeepDreamLoopOpen: null, DeepDreamLoopClose: null };

function carriedInUse(node, fixed) {
  const numbers = (node.inputs ?? [])
    .filter((input) => input.link != null && CARRIED.test(input.name))
    .map((input) => Number(CARRIED.exec(input.name)[1]));
  (node.outputs ?? []).forEach((output, index) => {
    if (index >= fixed && output.links?.length) numbers.push(index - fixed);
  });
  return Math.max(-1, ...numbers) + 1;
}

function setOutputs(node, fixed, total) {
  const [width, height] = node.size;
  while (node.outputs.length > total) node.removeOutput(node.outputs.length - 1);
  while (node.outputs.length < total) node.addOutput(`carried_${node.outputs.length - fixed}`, "*");
  node.setSize([width, height]);
}

function fitOutputs(node) {
  const { fixed, all } = outputs[node.comfyClass];
  const total = fixed + carriedInUse(node, fixed);
  if (node.outputs.length === total) return;
  const isNew = node.outputs.length === all;
  setOutputs(node, fixed, total);
  const height = node.computeSize()[1];
  node.setSize([node.size[0], isNew ? height : Math.max(node.size[1], height)]);
  node.setDirtyCanvas?.(true, true);
}

// Several connections change at once while a workflow loads: wait until all have changed.
function fitSoon(node) {
  clearTimeout(node.fittingOutputs);
  node.fittingOutputs = setTimeout(() => node.graph && fitOutputs(node), 0);
}

app.registerExtension({
  name: "DeepDream.TemporalLoop",
  addCustomNodeDefs(definitions) {
    for (const id of Object.keys(outputs)) {
      const definition = definitions[id];
      const names = definition?.output_name ?? [];
      const fixed = names.findIndex((name) => CARRIED.test(name));
      if (fixed < 0) continue;
      outputs[id] = { fixed, all: names.length };
      // The previews of nodes show what is left.
      for (const list of OUTPUT_LISTS) {
        if (definition[list]) definition[list] = definition[list].slice(0, fixed);
      }
    }
  },
  nodeCreated(node) {
    const known = outputs[node.comfyClass];
    if (!known) return;
    for (const event of ["onConnectionsChange", "onConfigure"]) {
      const before = node[event];
      node[event] = function (...args) {
        const result = before?.apply(this, args);
        fitSoon(this);
        return result;
      };
    }
    // A graph in API format connects to outputs that it expects to be there.
    setOutputs(node, known.fixed, known.all);
    fitSoon(node);
  },
});

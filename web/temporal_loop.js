// Shows as many carried outputs on the ends of a temporal loop as are in use. The server knows a hundred of each.
import { app } from "../../scripts/app.js";

// Outputs before the carried ones.
const FIXED_OUTPUTS = { DeepDreamLoopOpen: 6, DeepDreamLoopClose: 1 };
const CARRIED_AT_MOST = 100;
const CARRIED = /(?:^|\.)carried_(\d+)$/;

function carriedInUse(node, fixed) {
  const numbers = (node.inputs ?? [])
    .filter((input) => input.link != null && CARRIED.test(input.name))
    .map((input) => Number(CARRIED.exec(input.name)[1]));
  (node.outputs ?? []).forEach((output, index) => {
    if (index >= fixed && output.links?.length) numbers.push(index - fixed);
  });
  return Math.max(-1, ...numbers) + 1;
}

function setCarriedOutputs(node, fixed, count) {
  const [width, height] = node.size;
  while (node.outputs.length > fixed + count) node.removeOutput(node.outputs.length - 1);
  while (node.outputs.length < fixed + count) node.addOutput(`carried_${node.outputs.length - fixed}`, "*");
  node.setSize([width, height]);
}

function fitOutputs(node) {
  const fixed = FIXED_OUTPUTS[node.comfyClass];
  const count = carriedInUse(node, fixed);
  if (node.outputs.length === fixed + count) return;
  const isNew = node.outputs.length === fixed + CARRIED_AT_MOST;
  setCarriedOutputs(node, fixed, count);
  const height = node.computeSize()[1];
  node.setSize([node.size[0], isNew ? height : Math.max(node.size[1], height)]);
  node.setDirtyCanvas?.(true, true);
}

// Several connections change at once while a workflow loads: look once they all have.
function fitSoon(node) {
  clearTimeout(node.fittingOutputs);
  node.fittingOutputs = setTimeout(() => node.graph && fitOutputs(node), 0);
}

app.registerExtension({
  name: "DeepDream.TemporalLoop",
  // For the previews of nodes.
  addCustomNodeDefs(definitions) {
    for (const [id, fixed] of Object.entries(FIXED_OUTPUTS)) {
      const definition = definitions[id];
      for (const list of ["output", "output_name", "output_is_list", "output_tooltips", "output_matchtypes"]) {
        if (definition?.[list]) definition[list] = definition[list].slice(0, fixed);
      }
    }
  },
  nodeCreated(node) {
    if (!(node.comfyClass in FIXED_OUTPUTS)) return;
    for (const event of ["onConnectionsChange", "onConfigure"]) {
      const before = node[event];
      node[event] = function (...args) {
        const result = before?.apply(this, args);
        fitSoon(this);
        return result;
      };
    }
    // A graph in API format connects to outputs that it expects to be there.
    setCarriedOutputs(node, FIXED_OUTPUTS[node.comfyClass], CARRIED_AT_MOST);
    fitSoon(node);
  },
});

// The ends of a temporal loop: they show the carried outputs in use and the types of what goes through, and pass it on
// if they are bypassed. The server defines all outputs that there can be.
import { app } from "../../scripts/app.js";

const OPEN = "DeepDreamLoopOpen", CLOSE = "DeepDreamLoopClose";
const CARRIED = /(?:^|\.)carried_(\d+)$/;
const OUTPUT_LISTS = ["output", "output_name", "output_is_list", "output_tooltips", "output_matchtypes"];
const BYPASSED = 4, ALWAYS = 0;
const LOOP = 0, FRAME = 1, PREVIOUS_FRAME = 2, PREVIOUS_RESULT = 3, INDEX = 4, COUNT = 5, TIME = 6;  // Open's outputs
const RESULTS = 0;  // Close's

// Node id -> number of its outputs, before the carried ones and in all, and their types. Read from the server.
const outputs = { [OPEN]: null, [CLOSE]: null };

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
  if (node.outputs.length !== total) {
    const isNew = node.outputs.length === all;
    setOutputs(node, fixed, total);
    const height = node.computeSize()[1];
    node.setSize([node.size[0], isNew ? height : Math.max(node.size[1], height)]);
  }
  fitTypes(node);
  node.setDirtyCanvas?.(true, true);
}

// Several connections change at once while a workflow loads: wait until all have changed.
function fitSoon(node) {
  clearTimeout(node.fittingOutputs);
  node.fittingOutputs = setTimeout(() => node.graph && fitOutputs(node), 0);
}

// Types

const linkOf = (node, id) => (id == null ? null : node.graph?.getLink?.(id) ?? node.graph?.links?.[id]);

function sourceOf(node, name) {
  const link = linkOf(node, node.inputs.find((input) => input.name === name)?.link);
  return link && { link, node: node.graph.getNodeById(link.origin_id) };
}

// The one type that is connected to an input; null for none or several.
function typeInto(node, name) {
  const source = sourceOf(node, name);
  const type = source && (source.node?.outputs?.[source.link.origin_slot]?.type ?? source.link.type);
  return type && !/[*,]/.test(type) ? type : null;
}

function setType(node, slot, type) {
  const output = node.outputs[slot], before = output.type;
  output.type = type ?? outputs[node.comfyClass].types[slot];
  if (output.type === before) return;
  for (const id of output.links ?? []) {
    const link = linkOf(node, id), target = node.graph.getNodeById(link?.target_id);
    if (!link) continue;
    link.type = output.type;
    // Nodes whose outputs have the type of an input, such as Flow Warp, take it over.
    target?.onConnectionsChange?.(LiteGraph.INPUT, link.target_slot, true, link, target.inputs[link.target_slot]);
  }
}

function fitTypes(node) {
  if (node.comfyClass === OPEN) {
    const type = typeInto(node, "frames");
    for (const slot of [FRAME, PREVIOUS_FRAME]) setType(node, slot, type === "VIDEO" ? "IMAGE" : type);
    for (const id of node.outputs[LOOP].links ?? []) {
      const close = node.graph.getNodeById(linkOf(node, id)?.target_id);
      if (close?.comfyClass === CLOSE) fitSoon(close);
    }
    return;
  }
  const open = sourceOf(node, "loop")?.node, type = typeInto(node, "result");
  const isVideo = open?.comfyClass === OPEN && typeInto(open, "frames") === "VIDEO";
  setType(node, RESULTS, isVideo ? "VIDEO" : type);
}

// Files from before Open had `time` connect to its carried values one output earlier.
function makeRoomForTime(node, data) {
  if (node.comfyClass !== OPEN || !CARRIED.test(data.outputs?.[TIME]?.name ?? "")) return;
  for (const output of data.outputs.slice(TIME)) {
    for (const id of output.links ?? []) {
      const link = linkOf(node, id);
      if (link) link.origin_slot += 1;
    }
  }
  data.outputs.splice(TIME, 0, { name: "time", type: "FLOAT", links: null });
}

// Bypass

function* endsIn(graph) {
  for (const node of graph?.nodes ?? []) {
    if (outputs[node.comfyClass]) yield node;
    if (node.subgraph) yield* endsIn(node.subgraph);
  }
}

// What a bypassed end passes on: the whole batch goes through once.
function passedOn({ class_type, inputs }, slot) {
  const { fixed } = outputs[class_type];
  if (class_type === CLOSE) return slot === RESULTS ? inputs.result : inputs[`carried.carried_${slot - fixed}`];
  if (slot >= fixed) return inputs[`initial.carried_${slot - fixed}`];
  const { frames, initial_result = frames } = inputs;
  return {
    [LOOP]: false,  // a Close that is not bypassed then says what is wrong
    [FRAME]: frames,
    [PREVIOUS_FRAME]: frames,
    [PREVIOUS_RESULT]: initial_result,
    [INDEX]: 0,
    [COUNT]: 1,
    [TIME]: 0,
  }[slot];
}

function withoutEnds(prompt, kept) {
  const isOut = (value) => Array.isArray(value) && value[0] in prompt && !kept.has(value[0]);
  const through = (value) => (isOut(value) ? through(passedOn(prompt[value[0]], value[1])) : value);
  const left = {};
  for (const [id, node] of Object.entries(prompt)) {
    if (!kept.has(id)) continue;
    const inputs = Object.entries(node.inputs).map(([name, value]) => [name, through(value)]);
    left[id] = { ...node, inputs: Object.fromEntries(inputs.filter(([, value]) => value !== undefined)) };
  }
  return left;
}

// The page itself would pass on the input in the place of the output, which is another one.
function passOnWhereBypassed() {
  const ask = app.graphToPrompt;
  app.graphToPrompt = async function (...args) {
    const prompt = await ask.apply(this, args);
    const bypassed = [...endsIn(args[0] ?? app.rootGraph ?? app.graph)].filter((node) => node.mode === BYPASSED);
    if (!bypassed.length) return prompt;
    for (const node of bypassed) node.mode = ALWAYS;
    try {
      const { output } = await ask.apply(this, args);
      return { ...prompt, output: withoutEnds(output, new Set(Object.keys(prompt.output))) };
    } finally {
      for (const node of bypassed) node.mode = BYPASSED;
    }
  };
}

app.registerExtension({
  name: "DeepDream.TemporalLoop",
  setup: passOnWhereBypassed,
  addCustomNodeDefs(definitions) {
    for (const id of Object.keys(outputs)) {
      const definition = definitions[id];
      const names = definition?.output_name ?? [];
      const fixed = names.findIndex((name) => CARRIED.test(name));
      if (fixed < 0) continue;
      outputs[id] = { fixed, all: names.length, types: definition.output.slice(0, fixed) };
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
    const { configure } = node;
    node.configure = function (data) {
      makeRoomForTime(this, data);
      const result = configure.call(this, data);
      if (this.graph) fitOutputs(this);  // at once too: the page fits its view to the nodes as they are now
      return result;
    };
    // A graph in API format connects to outputs that it expects to be there.
    setOutputs(node, known.fixed, known.all);
    fitSoon(node);
  },
});

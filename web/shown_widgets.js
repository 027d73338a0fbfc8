// Shows the widgets that matter: beside a look only those that the server names, and rare ones only when unfolded.
import { app } from "../../scripts/app.js";

const PREFIX = "DeepDream";
const LOOK = "look";
const CUSTOM = "custom"; // the choice that is no look
const SHOWN = "shown_beside_a_look";
const ALWAYS_SHOW = "Comfy.Node.AlwaysShowAdvancedWidgets";

const optionsOfLook = (definition) => definition?.input?.optional?.[LOOK]?.[1];

// Names of the widgets that stay beside a look; null for nodes that have no looks.
function besideLook(node) {
  const names = optionsOfLook(node.constructor.nodeData)?.[SHOWN];
  return names ? [LOOK, ...names] : null;
}

function isConnected(node, widget) {
  return node.inputs?.some((input) => input.widget?.name === widget.name && input.link != null);
}

// The look gives the value of this widget.
function isGiven(node, widget, beside) {
  const look = node.widgets?.find((one) => one.name === LOOK);
  if (!beside || !look || look.value === CUSTOM || isConnected(node, look)) return false;
  const owner = node.widgets.find((one) => one.linkedWidgets?.includes(widget)) ?? widget;
  return !beside.includes(owner.name);
}

// Nodes 2.0 folds rare widgets by itself. On the classic canvas "Show Advanced" in a node's menu unfolds them.
function isFolded(node, widget) {
  if (!widget.advanced || node.showAdvanced || LiteGraph.vueNodesMode) return false;
  return !app.ui.settings.getSettingValue(ALWAYS_SHOW);
}

// The page reads these properties whenever it draws: the canvas the widget's own, Nodes 2.0 those of its options.
function define(owner, name, get) {
  Object.defineProperty(owner, name, { configurable: true, enumerable: true, get, set() {} });
}

function watch(node, widget, beside) {
  const { options } = widget;
  const rare = options.advanced;
  const { serialize } = options;
  const given = () => isGiven(node, widget, beside);
  const shown = () => isConnected(node, widget);
  widget.advanced = rare; // puts "Show Advanced" into the menu
  define(widget, "hidden", () => !shown() && (given() || isFolded(node, widget)));
  if (!beside) return;
  define(options, "hidden", () => !shown() && given());
  define(options, "advanced", () => rare && !given());
  define(options, "serialize", () => (given() ? false : serialize)); // not sent to the server
}

// What looks are, and in a line the one that is chosen; the definition tells them all.
function tooltip(node, look) {
  const [about, ...looks] = optionsOfLook(node.constructor.nodeData).tooltip.split("\n");
  const chosen = looks.find((line) => line.startsWith(look.value) && /^\W/.test(line.slice(look.value.length)));
  return chosen ? `${chosen}\n\n${about}` : about;
}

const fit = (node) => node.setSize([node.size[0], node.computeSize()[1]]);

function fitAfter(owner, name, node) {
  const before = owner[name];
  owner[name] = function (...args) {
    const result = before?.apply(this, args);
    fit(node);
    return result;
  };
}

app.registerExtension({
  name: "DeepDream.ShownWidgets",
  addCustomNodeDefs(definitions) {
    // The previews of nodes show what a new node shows.
    for (const [id, definition] of Object.entries(definitions)) {
      const look = id.startsWith(PREFIX) ? optionsOfLook(definition) : null;
      if (!look || look.default === CUSTOM) continue;
      const names = [LOOK, ...look[SHOWN]];
      for (const [name, [kind, options]] of Object.entries(definition.input.optional)) {
        if (options && !names.includes(name) && app.widgets[Array.isArray(kind) ? "COMBO" : kind]) options.hidden = true;
      }
    }
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(PREFIX) || !node.widgets?.length) return;
    const beside = besideLook(node);
    node.widgets.forEach((widget) => watch(node, widget, beside));
    // A choice brings widgets of its own.
    const { addInput } = node;
    node.addInput = function (name, ...args) {
      const input = addInput.call(this, name, ...args);
      const widget = this.widgets?.find((one) => one.name === name);
      if (widget) watch(this, widget, beside);
      return input;
    };
    const look = beside && node.widgets.find((one) => one.name === LOOK);
    if (look) {
      define(look, "tooltip", () => tooltip(node, look));
      fitAfter(look, "callback", node);
    }
    fitAfter(node, "toggleAdvanced", node);
    fit(node);
  },
});

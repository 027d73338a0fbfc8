// Folds away rare settings on the classic canvas, as Nodes 2.0 does; "Show Advanced" in a node's menu unfolds them.
import { app } from "../../scripts/app.js";

const ALWAYS_SHOW = "Comfy.Node.AlwaysShowAdvancedWidgets";

function isFolded(node, widget) {
  if (node.showAdvanced || LiteGraph.vueNodesMode || app.ui.settings.getSettingValue(ALWAYS_SHOW)) return false;
  // A connected widget is in use.
  return !node.inputs?.some((input) => input.widget?.name === widget.name && input.link != null);
}

app.registerExtension({
  name: "DeepDream.AdvancedWidgets",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("DeepDream")) return;
    const rare = (node.widgets ?? []).filter((widget) => widget.options?.advanced);
    if (!rare.length) return;
    for (const widget of rare) {
      widget.advanced = true; // puts "Show Advanced" into the menu
      Object.defineProperty(widget, "hidden", { configurable: true, get: () => isFolded(node, widget), set() {} });
    }
    const fit = () => node.setSize([node.size[0], node.computeSize()[1]]);
    const toggleAdvanced = node.toggleAdvanced;
    node.toggleAdvanced = function () {
      toggleAdvanced?.call(this);
      fit();
    };
    fit();
  },
});

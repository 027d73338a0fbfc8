// Restores the values of widgets by their names, which the page saves but does not read by default: by their order, a
// file from before a widget was added or removed would shift all that follow.
import { app } from "../../scripts/app.js";

const PREFIX = "DeepDream";

app.registerExtension({
  name: "DeepDream.ValuesByName",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(PREFIX)) return;
    const { configure } = node;
    node.configure = function (data) {
      const before = LiteGraph.namedValuesRestore;
      LiteGraph.namedValuesRestore = true;
      try {
        return configure.call(this, data);
      } finally {
        LiteGraph.namedValuesRestore = before;
      }
    };
  },
});

// Opens a workflow in ComfyUI's page and measures where things are; layout.py calls it.
async (graph, nodes2, growing, telling, results) => {
    const app = window.app, wait = time => new Promise(done => setTimeout(done, time));
    await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", nodes2);
    await app.extensionManager.setting.set("Comfy.NodeBadge.NodeSourceBadgeMode", "Show all");
    await app.loadGraphData(graph, true, true, null, { openSource: "template" });
    await wait(600);
    const { nodes, groups, links, reroutes } = app.graph, { ds } = app.canvas, zoom = ds.scale;
    const { api } = await import("/scripts/api.js");
    const context = document.createElement("canvas").getContext("2d");
    const element = node => document.querySelector(`[data-node-id="${node.id}"]`);

    function boxOf(node) {
        if (!nodes2) {
            node.updateArea();
            return [...node.boundingRect];
        }
        const view = app.canvas.canvas.getBoundingClientRect(), box = element(node).getBoundingClientRect();
        const left = (box.left - view.left) / ds.scale - ds.offset[0];
        const top = (box.top - view.top) / ds.scale - ds.offset[1];
        return [left, top, box.width / ds.scale, box.height / ds.scale];
    }
    const boxes = () => Object.fromEntries(nodes.map(node => [node.id, boxOf(node)]));

    function crosses(path, [left, top, width, height]) {
        context.lineWidth = 6;
        const at = (x, y) => context.isPointInStroke(path, x, y);
        for (let x = 0; x <= width; x += 5) if (at(left + x, top) || at(left + x, top + height)) return true;
        for (let y = 0; y <= height; y += 5) if (at(left, top + y) || at(left + width, top + y)) return true;
        return false;
    }
    function pathsOf(link) {
        const paths = [link.path];
        for (let id = link.parentId; id != null; id = reroutes.get(id).parentId) paths.push(reroutes.get(id).path);
        return paths;
    }
    // Wires that run behind boxes, as texts. A wire's own nodes have their sockets near their sides.
    function behind(boxes) {
        const found = [];
        for (const link of links.values()) {
            const ends = [link.origin_id, link.target_id].map(id => app.graph.getNodeById(id));
            for (const { name, node, box: [left, top, width, height] } of boxes) {
                const inset = ends.includes(node) ? 18 : 0;
                if (pathsOf(link).some(path => crosses(path, [left + inset, top, width - 2 * inset, height])))
                    found.push(`${ends[0].title} to ${ends[1].title}: behind ${name}`);
            }
        }
        return found;
    }
    const asBoxes = places => nodes.map(node => ({ name: node.title, node, box: places[node.id] }));

    function named(group) {
        context.font = "24px sans-serif";
        const [left, top, width, height] = group._bounding, length = context.measureText(group.title).width;
        return { name: group.title, box: [left, top, width, height], text: [left + 4, top + 4, length, 26] };
    }
    function cut(node) {
        if (nodes2) {
            const title = element(node).querySelector("[data-testid=node-title] .truncate");
            return title.scrollWidth > title.clientWidth;
        }
        context.font = "14px Inter, Arial, sans-serif";
        return context.measureText(node.title).width > node.size[0] - 60;
    }
    function filled(node) {
        const text = nodes2 ? element(node).querySelector(".comfy-markdown-content") : node.widgets[0].element;
        const content = text.querySelector(".tiptap") ?? text;
        const room = text.getBoundingClientRect(), end = content.lastElementChild.getBoundingClientRect();
        return (end.bottom - room.top) / room.height;
    }

    const names = groups.map(named), places = boxes(), wires = behind(asBoxes(places));
    const overNames = behind(names.map(({ name, text }) => ({ name: `the name ${name}`, node: null, box: text })));
    const titles = nodes.filter(cut).map(node => node.title);
    const notes = nodes.filter(node => node.type === "MarkdownNote").map(filled);

    // As while it runs, and as when it has run.
    const send = (kind, detail) => api.dispatchCustomEvent(kind, detail);
    for (const node of nodes) {
        const id = String(node.id);
        if (telling[node.type]) send("progress_text", { nodeId: id, text: telling[node.type] });
        if (results[node.type]) {
            const images = [{ filename: results[node.type], subfolder: "", type: "output" }];
            const output = { images, animated: [node.type === "SaveVideo"] };
            send("executed", { node: id, display_node: id, prompt_id: "", output });
        }
    }
    const picture = document.createElement("canvas");
    [picture.width, picture.height] = [512, 288];
    const blob = await new Promise(done => picture.toBlob(done, "image/jpeg"));
    const running = nodes.filter(node => growing.includes(node.type));
    const small = node => boxOf(node)[3] < places[node.id][3] + 150;
    for (let tries = 0; running.some(small) && tries < 20; tries++) {
        for (const { id } of running) {
            const keys = ["nodeId", "displayNodeId", "parentNodeId", "realNodeId"];
            const ids = Object.fromEntries(keys.map(key => [key, String(id)]));
            send("b_preview_with_metadata", { blob, promptId: "", jobId: "", ...ids });
        }
        app.canvas.setDirty(true, true);
        await wait(300);
    }
    await wait(500);
    const grown = boxes();
    return {
        zoom, places, grown, wires, overNames, titles, notes,
        groups: names.map(({ name, box }) => [name, box]),
        small: running.filter(small).map(node => node.title),
        wiresThen: behind(asBoxes(grown)),
    };
}

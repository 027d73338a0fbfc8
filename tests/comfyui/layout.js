// Opens a workflow in ComfyUI's page and measures where things are; layout.py calls it.
async (graph, nodes2, growing, telling, results) => {
    const app = window.app, wait = time => new Promise(done => setTimeout(done, time));
    await app.extensionManager.setting.set("Comfy.VueNodes.Enabled", nodes2);
    await app.extensionManager.setting.set("Comfy.NodeBadge.NodeSourceBadgeMode", "Show all");
    await app.loadGraphData(graph, true, true, null, { openSource: "template" });
    const { nodes, groups, links, reroutes } = app.graph, { ds } = app.canvas;
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
    const notes = () => nodes.filter(node => node.type === "MarkdownNote").map(filled);

    // Waits until the page has drawn all nodes, and nothing moves any more.
    async function still() {
        for (let tries = 0, same = 0, last = ""; tries < 100 && same < 3; tries++) {
            await wait(100);
            if (nodes2 && !nodes.every(element)) continue;
            const now = JSON.stringify([boxes(), notes(), ds.scale]);
            [same, last] = [now === last ? same + 1 : 0, now];
        }
        app.canvas.draw(true, true);  // the wires too
    }

    // A small drawing of wires, which tells sooner than the wires themselves whether they are at a place.
    const paper = document.createElement("canvas"), pen = paper.getContext("2d", { willReadFrequently: true });
    function drawing(paths, [left, top, right, bottom]) {
        [paper.width, paper.height] = [Math.ceil((right - left) / 2), Math.ceil((bottom - top) / 2)];
        pen.setTransform(0.5, 0, 0, 0.5, -left / 2, -top / 2);
        pen.lineWidth = 6;
        for (const path of paths) pen.stroke(path);
        const { data, width } = pen.getImageData(0, 0, paper.width, paper.height);
        return (x, y) => data[4 * (Math.round((y - top) / 2) * width + Math.round((x - left) / 2)) + 3] > 127;
    }
    function crosses(at, [left, top, width, height]) {
        for (let x = 0; x <= width; x += 2) if (at(left + x, top) || at(left + x, top + height)) return true;
        for (let y = 0; y <= height; y += 2) if (at(left, top + y) || at(left + width, top + y)) return true;
        return false;
    }
    function pathsOf(link) {
        const paths = [link.path];
        for (let id = link.parentId; id != null; id = reroutes.get(id).parentId) paths.push(reroutes.get(id).path);
        return paths;
    }
    function around(boxes) {
        const [lefts, tops] = [0, 1].map(axis => boxes.map(box => box[axis]));
        const [rights, bottoms] = [0, 1].map(axis => boxes.map(box => box[axis] + box[axis + 2]));
        return [Math.min(...lefts) - 10, Math.min(...tops) - 10, Math.max(...rights) + 10, Math.max(...bottoms) + 10];
    }
    // Wires that run behind boxes, as texts. A wire's own nodes have their sockets near their sides.
    function behind(boxes) {
        const found = [], sheet = around(boxes.map(({ box }) => box));
        if (!boxes.length) return found;
        for (const link of links.values()) {
            const at = drawing(pathsOf(link), sheet);
            const ends = [link.origin_id, link.target_id].map(id => app.graph.getNodeById(id));
            for (const { name, node, box: [left, top, width, height] } of boxes) {
                const inset = ends.includes(node) ? 18 : 0;
                if (crosses(at, [left + inset, top, width - 2 * inset, height]))
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

    await still();
    const zoom = ds.scale, names = groups.map(named), places = boxes(), fills = notes(), wires = behind(asBoxes(places));
    const overNames = behind(names.map(({ name, text }) => ({ name: `the name ${name}`, node: null, box: text })));
    const titles = nodes.filter(cut).map(node => node.title);

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
    for (let tries = 0; running.some(small) && tries < 60; tries++) {
        for (const { id } of running) {
            const keys = ["nodeId", "displayNodeId", "parentNodeId", "realNodeId"];
            const ids = Object.fromEntries(keys.map(key => [key, String(id)]));
            send("b_preview_with_metadata", { blob, promptId: "", jobId: "", ...ids });
        }
        app.canvas.setDirty(true, true);
        await wait(100);
    }
    await still();
    const grown = boxes();
    return {
        zoom, places, grown, wires, overNames, titles, notes: fills,
        groups: names.map(({ name, box }) => [name, box]),
        small: running.filter(small).map(node => node.title),
        wiresThen: behind(asBoxes(grown).filter(({ node: { id } }) => String(grown[id]) !== String(places[id]))),
    };
}

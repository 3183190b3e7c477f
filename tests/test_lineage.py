"""The walk over a graph of versions and runs."""

from __future__ import annotations

from registry.lineage import Direction, Graph, Node, data, mermaid, tree, walk

# mnist:v0 → train → model:v0 → evaluate → evaluation:v0; evaluate also uses mnist:v0
EDGES = [("mnist:v0", "train"), ("train", "model:v0"), ("model:v0", "evaluate"), ("mnist:v0", "evaluate"), ("evaluate", "e:v0")]


def node(id: str) -> Node:
    return Node(id=id, is_run=":" not in id, kind=id.split(":")[0], label=id)


def neighbours(at: Node, direction: Direction) -> list[Node]:
    if direction == "up":
        return [node(source) for source, target in EDGES if target == at.id]
    return [node(target) for source, target in EDGES if source == at.id]


def walked(start: str, *directions: Direction) -> Graph:
    return walk(node(start), neighbours, directions)


def test_up_finds_everything_that_led_to_a_version() -> None:
    assert set(walked("e:v0", "up").nodes) == {"e:v0", "evaluate", "model:v0", "mnist:v0", "train"}


def test_down_finds_everything_that_came_of_a_version() -> None:
    assert set(walked("model:v0", "down").nodes) == {"model:v0", "evaluate", "e:v0"}


def test_both_ways_leave_out_siblings() -> None:
    assert "mnist:v0" in walked("model:v0", "up", "down").nodes
    assert set(walked("train", "down").nodes) == {"train", "model:v0", "evaluate", "e:v0"}


def test_edges_point_in_the_direction_of_time_whichever_way_we_walked() -> None:
    assert set(walked("e:v0", "up").edges) == set(EDGES) == set(walked("mnist:v0", "down").edges)


def test_a_node_reached_twice_is_drawn_in_full_once() -> None:
    evaluate = tree(walked("e:v0", "up"), "up").branches[0]
    model, data_ = evaluate.branches
    assert [model.node.id, data_.node.id] == ["model:v0", "mnist:v0"]
    assert model.branches[0].branches[0].node.id == "mnist:v0"


def test_a_cycle_ends() -> None:
    graph = walk(node("a:v0"), lambda at, _: [node("b" if at.is_run is False else "a:v0")], ["down"])
    assert set(graph.edges) == {("a:v0", "b"), ("b", "a:v0")}
    assert tree(graph, "down").branches[0].branches[0].repeated


def test_mermaid_names_every_node_and_edge_and_escapes_quotes() -> None:
    graph = walk(Node(id='x"', is_run=False, kind="model", label='say "hi"'), lambda *_: [], ["up"])
    assert mermaid(graph) == 'flowchart LR\n    n0["model<br/>say #quot;hi#quot;"]\n    style n0 stroke-width:3px'
    assert mermaid(walked("e:v0", "up")).count("-->") == len(EDGES)


def test_data_has_all_nodes_and_edges() -> None:
    found = data(walked("model:v0", "down"))
    assert found["root"] == "model:v0"
    assert found["edges"] == [{"from": "model:v0", "to": "evaluate"}, {"from": "evaluate", "to": "e:v0"}]

"""Which operators of a graph are quantised: those that lie between convolutions, and nothing that leads to an output."""

import sys
import unittest
from pathlib import Path

from onnx import TensorProto, helper

TOOLS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOOLS))
from models.quantize_static import between_convolutions, input_name, name_nodes  # noqa: E402


def graph(nodes, outputs):
    """A graph of (operator, inputs, output), of which only the wiring counts."""
    value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, None)  # noqa: E731
    made = helper.make_graph([helper.make_node(operator, inputs, [output]) for operator, inputs, output in nodes],
                             "wiring", [value("image"), value("weights")], [value(name) for name in outputs],
                             [helper.make_tensor("weights", TensorProto.FLOAT, [1], [1.0])])
    name_nodes(made)
    return made


def chosen(nodes, outputs):
    return sorted(between_convolutions(graph(nodes, outputs)))


class BetweenConvolutions(unittest.TestCase):
    def test_what_lies_between_two_convolutions_is_chosen(self):
        nodes = [("Conv", ["image", "weights"], "a"), ("LeakyRelu", ["a"], "b"), ("MaxPool", ["b"], "c"),
                 ("Concat", ["b", "c"], "d"), ("Conv", ["d", "weights"], "e")]
        self.assertEqual(chosen(nodes, ["e"]), ["0.Conv", "1.LeakyRelu", "2.MaxPool", "3.Concat", "4.Conv"])

    def test_a_head_is_not(self):
        nodes = [("Conv", ["image", "weights"], "boxes"), ("Conv", ["image", "weights"], "scores"),
                 ("Concat", ["boxes", "scores"], "out")]
        self.assertEqual(chosen(nodes, ["out"]), ["0.Conv", "1.Conv"])

    def test_one_way_to_an_output_is_enough(self):
        # As in a head whose boxes pass a last convolution and whose scores do not.
        nodes = [("Conv", ["image", "weights"], "a"), ("Concat", ["a", "a"], "b"), ("Conv", ["b", "weights"], "boxes"),
                 ("Sigmoid", ["b"], "scores")]
        self.assertEqual(chosen(nodes, ["boxes", "scores"]), ["0.Conv", "2.Conv"])
        nodes = nodes[:3]
        self.assertEqual(chosen(nodes, ["boxes", "b"]), ["0.Conv", "2.Conv"])

    def test_other_operators_are_not(self):
        nodes = [("Conv", ["image", "weights"], "a"), ("Sigmoid", ["a"], "b"), ("Mul", ["a", "b"], "c"),
                 ("Relu", ["c"], "d"), ("Conv", ["d", "weights"], "e")]
        self.assertEqual(chosen(nodes, ["e"]), ["0.Conv", "3.Relu", "4.Conv"])

    def test_weights_that_are_listed_as_inputs_are_no_input(self):
        self.assertEqual(input_name(graph([("Conv", ["image", "weights"], "a")], ["a"])), "image")


if __name__ == "__main__":
    unittest.main()

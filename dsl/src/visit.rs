//! Visits to every node of a condition or value.

use crate::tree::Spanned;
use crate::typed::{Condition, Number, Value};

/// A node of a typed tree.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Node<'t> {
    Condition(&'t Condition),
    Number(&'t Number),
}

/// Visits a condition and all that is in it, aggregates included.
pub(crate) fn each_node<'t>(condition: &'t Condition, visit: &mut impl FnMut(Node<'t>)) {
    visit(Node::Condition(condition));
    match condition {
        Condition::Or(terms) | Condition::And(terms) => {
            for term in terms {
                each_node(&term.value, visit);
            }
        }
        Condition::Not(term) | Condition::Exists(term) => each_node(&term.value, visit),
        Condition::All { condition, filter } => {
            each_node(&condition.value, visit);
            each_in_filter(filter.as_deref(), visit);
        }
        Condition::Compare { left, right, .. } => {
            each_in_number(&left.value, visit);
            each_in_number(&right.value, visit);
        }
        Condition::Between { value, .. } | Condition::OneOf { value, .. } => {
            each_in_number(&value.value, visit);
        }
        Condition::Changed { value, .. } => each_in_value(&value.value, visit),
        Condition::Constant(_)
        | Condition::CompareText { .. }
        | Condition::TextOneOf { .. }
        | Condition::Matches { .. }
        | Condition::InZone(_)
        | Condition::Entered(_)
        | Condition::Left(_)
        | Condition::Crossed { .. }
        | Condition::Every { .. } => {}
    }
}

/// Visits all that is in a value.
pub(crate) fn each_in_value<'t>(value: &'t Value, visit: &mut impl FnMut(Node<'t>)) {
    match value {
        Value::Condition(condition) => each_node(condition, visit),
        Value::Number(number) => each_in_number(number, visit),
        Value::Text(_) => {}
    }
}

fn each_in_number<'t>(number: &'t Number, visit: &mut impl FnMut(Node<'t>)) {
    visit(Node::Number(number));
    match number {
        Number::Count(condition)
        | Number::CountWithin { condition, .. }
        | Number::Rate { condition, .. } => each_node(&condition.value, visit),
        Number::Fold { value, filter, .. } => {
            each_in_number(&value.value, visit);
            each_in_filter(filter.as_deref(), visit);
        }
        _ => {}
    }
}

fn each_in_filter<'t>(filter: Option<&'t Spanned<Condition>>, visit: &mut impl FnMut(Node<'t>)) {
    if let Some(filter) = filter {
        each_node(&filter.value, visit);
    }
}

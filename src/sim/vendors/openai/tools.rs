//! The rules of the tools in a request. Pure.

use super::rules::{Checked, bad, coded, is_name, present};
use serde_json::{Map, Value};

pub(super) fn check_tools(tools: Option<&Value>) -> Checked<Vec<String>> {
    let Some(tools) = tools else { return Ok(Vec::new()) };
    let tools =
        tools.as_array().ok_or_else(|| bad("tools", "Invalid type for 'tools': expected an array."))?;
    if tools.is_empty() {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1.";
        return Err(coded("tools", "empty_array", message));
    }
    if tools.len() > 128 {
        return Err(coded("tools", "array_above_max_length", "Invalid 'tools': at most 128 are allowed."));
    }
    let mut names: Vec<String> = Vec::new();
    for (n, tool) in tools.iter().enumerate() {
        match tool.get("type").and_then(Value::as_str) {
            Some("function") => {}
            Some("custom") => continue,
            _ => {
                let param = format!("tools[{n}].type");
                return Err(coded(param.clone(), "invalid_value", format!("Invalid value for '{param}'.")));
            }
        }
        let function = tool.get("function").and_then(Value::as_object);
        let name = function.and_then(|f| f.get("name")).and_then(Value::as_str).unwrap_or_default();
        let param = format!("tools[{n}].function.name");
        if !is_name(name) {
            let message = format!("Invalid '{param}': expected a string that matches '^[a-zA-Z0-9_-]+$'.");
            return Err(coded(param, "invalid_value", message));
        }
        if names.iter().any(|other| other == name) {
            return Err(bad(param, format!("Tool names must be unique: {name}")));
        }
        let param = format!("tools[{n}].function");
        let function = function.into_iter().flatten();
        for (key, value) in function {
            let right = match key.as_str() {
                "name" => true,
                "description" => value.is_string() || value.is_null(),
                "strict" => value.is_boolean() || value.is_null(),
                "parameters" => {
                    check_schema(name, value, tool.pointer("/function/strict") == Some(&Value::Bool(true)))?;
                    true
                }
                _ => false,
            };
            if !right {
                let param = format!("{param}.{key}");
                return Err(coded(
                    param.clone(),
                    "unknown_parameter",
                    format!("Unknown parameter: '{param}'."),
                ));
            }
        }
        names.push(name.to_owned());
    }
    Ok(names)
}

fn check_schema(name: &str, schema: &Value, strict: bool) -> Checked<()> {
    let fault = if schema.get("type").and_then(Value::as_str) == Some("object") {
        schema_fault(schema, 0).or_else(|| if strict { strict_fault(schema, 0) } else { None })
    } else {
        Some(format!("schema must be a JSON Schema of 'type: \"object\"', got {:?}.", schema.get("type")))
    };
    match fault {
        Some(fault) => {
            let message = format!("Invalid schema for function '{name}': {fault}");
            Err(coded("tools", "invalid_function_parameters", message))
        }
        None => Ok(()),
    }
}

fn inner_schemas(schema: &Value) -> impl Iterator<Item = &Value> {
    schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::values)
        .chain(schema.get("items"))
}

fn schema_fault(schema: &Value, depth: u8) -> Option<String> {
    if depth > 10 {
        return Some("too deep".to_owned());
    }
    if schema.get("type").and_then(Value::as_str) == Some("array") && schema.get("items").is_none() {
        return Some("array schema missing items".to_owned());
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        let known = required.as_str().is_some_and(|r| properties.is_some_and(|p| p.contains_key(r)));
        if !known {
            return Some(format!("{required} is required but not defined in properties"));
        }
    }
    inner_schemas(schema).find_map(|inner| schema_fault(inner, depth.saturating_add(1)))
}

pub(super) fn strict_fault(schema: &Value, depth: u8) -> Option<String> {
    if depth > 10 {
        return Some("too deep".to_owned());
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Some("'additionalProperties' is required to be supplied and to be false.".to_owned());
        }
        let required = schema.get("required").and_then(Value::as_array);
        let missing = properties
            .keys()
            .find(|key| !required.is_some_and(|all| all.iter().any(|r| r.as_str() == Some(key.as_str()))));
        if let Some(key) = missing {
            return Some(format!("'required' must include every key in properties. Missing '{key}'."));
        }
    }
    inner_schemas(schema).find_map(|inner| strict_fault(inner, depth.saturating_add(1)))
}

/// Checks the choice; `none` takes the tools away. Returns the tool that must be called.
pub(super) fn check_tool_choice(
    fields: &Map<String, Value>,
    tools: &mut Vec<String>,
) -> Checked<Option<String>> {
    let Some(choice) = present(fields, "tool_choice") else { return Ok(None) };
    if present(fields, "tools").is_none() {
        let message =
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.";
        return Err(bad("tool_choice", message));
    }
    let wrong = || coded("tool_choice", "invalid_value", "Invalid value for 'tool_choice'.");
    match choice {
        Value::String(word) => match word.as_str() {
            "auto" => Ok(None),
            "none" => {
                tools.clear();
                Ok(None)
            }
            "required" => Ok(tools.first().cloned()),
            _ => Err(wrong()),
        },
        Value::Object(named) if named.get("type").and_then(Value::as_str) == Some("function") => {
            let name = choice.pointer("/function/name").and_then(Value::as_str).ok_or_else(wrong)?;
            if !tools.iter().any(|t| t == name) {
                let message = format!("Tool choice '{name}' not found in 'tools' parameter.");
                return Err(bad("tool_choice", message));
            }
            Ok(Some(name.to_owned()))
        }
        Value::Object(named) if named.get("type").and_then(Value::as_str) == Some("allowed_tools") => {
            Ok(None)
        }
        _ => Err(wrong()),
    }
}

//! The configuration reference, from the types: Markdown for people, JSON Schema for editors.

use std::fmt::Write;

use serde_json::{Value, json};

use super::Config;

/// JSON Schema of the configuration, pretty-printed.
pub fn schema() -> String {
    let mut root = tree();
    allow_unnamed_kinds(&mut root);
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

/// An analyzer's table that is named after a kind needs no `kind`: the reader puts it in, so the types do not know.
fn allow_unnamed_kinds(root: &mut Value) {
    let mut named = serde_json::Map::new();
    for variant in variants(&root["$defs"]["AnalyzerConfig"]) {
        let Some(kind) = variant["properties"]["kind"]["const"].as_str() else { continue };
        let mut plain = variant.clone();
        if let Some(required) = plain["required"].as_array_mut() {
            required.retain(|field| field != "kind");
        }
        named.insert(kind.to_owned(), json!({ "anyOf": [{ "$ref": "#/$defs/AnalyzerConfig" }, plain] }));
    }
    root["properties"]["analyzer"]["properties"] = Value::from(named);
}

/// The reference in Markdown: a section for each table, a row for each field.
pub fn markdown() -> String {
    let root = tree();
    let mut text = String::from(
        "# Configuration reference\n\n\
         Made from the program's types by `aimass-agent reference`. One TOML file; unknown keys are refused. \
         Coordinates are fractions of the frame, 0..1, origin at the top left. Check a file with \
         `aimass-agent validate --config FILE`.\n",
    );
    table(&mut text, &root, &root, "", &mut Vec::new());
    text
}

fn tree() -> Value {
    serde_json::to_value(schemars::schema_for!(Config)).unwrap_or_default()
}

/// Follows a `$ref`, also through `anyOf: [$ref, null]` and `allOf: [$ref]`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.strip_prefix("#/$defs/")) {
        return &root["$defs"][name];
    }
    for key in ["anyOf", "allOf"] {
        if let Some(inner) = schema[key].as_array().and_then(|a| a.iter().find(|s| s.get("$ref").is_some())) {
            return resolve(root, inner);
        }
    }
    schema
}

/// One table of the file and the tables in it. `path` is as in `camera[].zone[]`.
fn table(text: &mut String, root: &Value, schema: &Value, path: &str, seen: &mut Vec<String>) {
    if seen.iter().any(|p| p == path) {
        return;
    }
    seen.push(path.to_owned());
    let schema = resolve(root, schema);
    if !path.is_empty() {
        let heading = match path.rsplit_once("[]") {
            Some((_, "")) => format!("[[{}]]", path.replace("[]", "")),
            _ => format!("[{}]", path.replace("[]", "")),
        };
        let _infallible = write!(text, "\n## `{heading}`\n\n{}\n", prose(schema));
    }
    let mut inner: Vec<(String, &Value)> = Vec::new();
    for variant in variants(schema) {
        if let Some(kind) = variant["properties"]["kind"]["const"].as_str() {
            let _infallible = write!(text, "\n**kind = \"{kind}\"** — {}\n", prose(variant));
        }
        fields(text, root, variant, path, &mut inner);
    }
    for (path, schema) in inner {
        table(text, root, schema, &path, seen);
    }
}

/// The alternatives of a tagged enum, or the schema itself.
fn variants(schema: &Value) -> Vec<&Value> {
    match schema["oneOf"].as_array() {
        Some(list) if list.iter().all(|v| v.get("properties").is_some()) => list.iter().collect(),
        _ => vec![schema],
    }
}

fn fields<'a>(
    text: &mut String,
    root: &'a Value,
    schema: &'a Value,
    path: &str,
    inner: &mut Vec<(String, &'a Value)>,
) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = String::new();
    for (name, field) in properties {
        if field.get("const").is_some() {
            continue;
        }
        let target = resolve(root, field);
        let below = |suffix: &str| {
            if path.is_empty() { format!("{name}{suffix}") } else { format!("{path}.{name}{suffix}") }
        };
        if is_table(target) {
            inner.push((below(""), field));
            continue;
        }
        let items = resolve(root, &target["items"]);
        if target["type"] == "array" && is_table(items) {
            inner.push((below("[]"), &target["items"]));
            continue;
        }
        if let Some(named) = target.get("additionalProperties").filter(|p| p.is_object()) {
            inner.push((below(".<name>"), named));
            continue;
        }
        let default = match field.get("default") {
            _ if required.contains(&name.as_str()) => "**required**".to_owned(),
            None | Some(Value::Null) => "not set".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let about = [prose(field), prose(target)].into_iter().find(|p| !p.is_empty()).unwrap_or_default();
        let _infallible =
            writeln!(rows, "| `{name}` | {} | {default} | {} |", kind(root, field), about.replace('\n', " "));
    }
    if !rows.is_empty() {
        let _infallible = write!(text, "\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}");
    }
}

fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some() || !std::ptr::eq(variants(schema)[0], schema)
}

fn prose(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().replace('|', "\\|")
}

/// A type as people say it.
fn kind(root: &Value, schema: &Value) -> String {
    let target = resolve(root, schema);
    let words = |list: &Vec<Value>| {
        list.iter()
            .filter_map(|v| v.as_str().or_else(|| v["const"].as_str()))
            .map(|v| format!("`{v}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(list) = target["enum"].as_array().or_else(|| target["oneOf"].as_array()) {
        return format!("one of {}", words(list));
    }
    let name = match &target["type"] {
        Value::String(one) => one.as_str(),
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).find(|t| *t != "null").unwrap_or("any")
        }
        _ => "any",
    };
    match name {
        "array" => format!("list of {}", kind(root, &target["items"])),
        "boolean" => "true or false".to_owned(),
        "string" => "text".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_the_types_stands_in_the_reference_with_a_meaning() {
        let text = markdown();
        for expected in [
            "## `[node]`",
            "## `[[camera]]`",
            "## `[[camera.zone]]`",
            "## `[analyzer.<name>]`",
            "`stall_after_s`",
        ] {
            assert!(text.contains(expected), "{expected} is missing:\n{text}");
        }
        let mute: Vec<&str> = text.lines().filter(|l| l.starts_with("| `") && l.ends_with("|  |")).collect();
        assert!(mute.is_empty(), "without a meaning: {mute:#?}");
    }

    #[test]
    fn the_schema_lets_a_table_that_is_named_after_a_kind_go_without_it() {
        let schema: Value = serde_json::from_str(&schema()).unwrap();
        for kind in aimass_inference::AnalyzerConfig::KINDS {
            let table = &schema["properties"]["analyzer"]["properties"][kind]["anyOf"];
            assert_eq!(table[1]["properties"]["kind"]["const"], kind);
            assert_eq!(table[1]["required"], json!([]));
        }
        assert_eq!(schema["$defs"]["AnalyzerConfig"]["oneOf"][0]["required"], json!(["kind"]));
    }

    #[test]
    fn the_committed_reference_is_what_the_types_say() {
        for (file, now) in [("configuration.md", markdown()), ("configuration.schema.json", schema())] {
            let path = format!("{}/reference/{file}", env!("CARGO_MANIFEST_DIR"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == now, "{path} is out of date: run `make reference`");
        }
    }
}

//! Does the document of the admin listener say what the listener does?

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::edge::{Edge, before};
use crate::support::origin::{Origin, ok};
use crate::support::reply::Reply;
use crate::support::wire::{Connection, ask};

async fn document(edge: &Edge) -> Value {
    let reply = edge.admin("/openapi.json").await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).expect("it is JSON")
}

/// Every operation: path pattern, method, and what is said of it.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths by pattern");
    let of_path = |(path, methods): (_, _)| {
        let (path, methods): (&String, &Value) = (path, methods);
        let methods = methods.as_object().expect("operations by method");
        methods.iter().map(|(method, operation)| (path.as_str(), method.as_str(), operation)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Shows `visit` every object within a value.
fn each_object<'a>(value: &'a Value, visit: &mut impl FnMut(&'a serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            visit(object);
            object.values().for_each(|value| each_object(value, visit));
        }
        Value::Array(values) => values.iter().for_each(|value| each_object(value, visit)),
        _ => {}
    }
}

/// Lets no object hold what its schema does not name.
fn shut(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if object.contains_key("properties") {
                object.entry("additionalProperties").or_insert(json!(false));
            }
            object.values_mut().for_each(shut);
        }
        Value::Array(values) => values.iter_mut().for_each(shut),
        _ => {}
    }
}

/// What is wrong with `value` by a schema of the document; nothing undocumented may be in it.
fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut whole = json!({ "allOf": [schema], "components": document["components"] });
    // What may come with other keys is not documented by them.
    shut(&mut whole["components"]);
    let validator = jsonschema::draft202012::new(&whole).expect("the schemas are sound");
    validator.iter_errors(value).map(|error| format!("{error} at {}", error.instance_path())).collect()
}

/// Holds an answer against what is said of its status.
fn hold(document: &Value, operation: &Value, reply: &Reply, asked: &str) {
    let said = &operation["responses"][reply.status.as_str()];
    assert!(said.is_object(), "{asked}: {} is not documented: {}", reply.status, reply.text());
    let kind = reply.field("content-type").expect("an answer has a type");
    let kind = kind.split(';').next().unwrap_or_default();
    let schema = &said["content"][kind]["schema"];
    assert!(schema.is_object(), "{asked}: {kind} is not documented for {}", reply.status);
    if kind == "application/json" {
        let body = serde_json::from_slice(&reply.body).expect("it says that it is JSON");
        assert_eq!(faults(document, schema, &body), Vec::<String>::new(), "{asked}: {body}");
    }
}

async fn send(edge: &Edge, method: &str, target: &str, body: &str) -> Reply {
    let request = ask(&method.to_uppercase(), target);
    Connection::to(edge.admin_address()).await.send(request, body.to_owned()).await
}

#[tokio::test]
async fn the_document_is_sound() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).start().await;
    let document = document(&edge).await;
    assert_eq!(document["openapi"], "3.1.0");
    each_object(&document, &mut |object| {
        let Some(reference) = object.get("$ref").and_then(Value::as_str) else { return };
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads elsewhere"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    });
    let schemas = document["components"]["schemas"].as_object().expect("schemas by name");
    for (name, schema) in schemas {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}");
        assert!(schema["description"].is_string(), "{name} is explained");
    }
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        assert!(ids.insert(operation["operationId"].to_string()), "{path} {method}: an id of another operation");
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 10), "{path} {method} is explained");
        assert!(operation["responses"]["200"].is_object(), "{path} {method} can succeed");
        let named: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().expect("a list");
        let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let declared: BTreeSet<_> = in_path.filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(named, declared, "{path} {method}");
        for scheme in operation["security"].as_array().expect("a list").iter().filter_map(Value::as_object) {
            assert!(scheme.keys().all(|name| document["components"]["securitySchemes"][name].is_object()), "{path}");
        }
    }
}

#[tokio::test]
async fn every_answer_is_as_the_document_says() {
    let origin = Origin::serve(|asked| {
        ok("body")
            .fresh(600)
            .with("vary", "accept")
            .with("surrogate-key", "t")
            .with("x-number", &asked.number.to_string())
    })
    .await;
    let rule = "key = { headers = [\"x-version\"], cookies = [\"plan\"] }";
    let edge = before(origin.address()).rule(rule).start().await;
    let document = document(&edge).await;
    let url = format!("http%3A%2F%2F{}%2Fa", edge.address());
    let good_query = |name: &str| match name {
        "url" => format!("url={url}"),
        "prefix" => format!("prefix={url}"),
        "tag" => "tag=t".to_owned(),
        "method" => "method=HEAD".to_owned(),
        "header" => "header=accept:x&header=cookie:plan%3D1".to_owned(),
        "limit" => "limit=7".to_owned(),
        other => panic!("what is a good {other}?"),
    };
    let bad_bodies = ["{", "[]", r#"{"unknown":1}"#, r#"{"soft":1}"#, r#"{"tags":["a b"]}"#];
    let mut statuses = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        edge.get_with("/a", &[("x-version", "1"), ("cookie", "plan=x"), ("accept", "text/html")]).await;
        edge.get_with("/a", &[("range", "bytes=0-1")]).await;
        let target = path.replace("{any}", "x").replace("{tag}", "t");
        let known = operation["parameters"].as_array().expect("a list").iter();
        let known: Vec<_> = known.filter(|parameter| parameter["in"] == "query").collect();
        let required = known.iter().find(|one| one["required"] == true).and_then(|one| one["name"].as_str());
        let base = required.map_or_else(|| target.clone(), |name| format!("{target}?{}", good_query(name)));
        let with = |query: &str| if base.contains('?') { format!("{base}&{query}") } else { format!("{base}?{query}") };
        let mut asked = vec![(base.clone(), ""), (with("nonsense=1"), ""), (target.clone(), "")];
        for name in known.iter().filter_map(|one| one["name"].as_str()).filter(|name| Some(*name) != required) {
            asked.push((with(&good_query(name)), ""));
            asked.push((with(&format!("{name}=")), ""));
        }
        if operation["requestBody"].is_object() {
            asked.extend(bad_bodies.map(|body| (base.clone(), body)));
            let good = [r#"{"tags":["t"]}"#, r#"{"surrogate_keys":["t"]}"#, r#"{"soft":true,"dry_run":true}"#];
            asked.extend(good.map(|body| (base.clone(), body)));
        }
        if path.ends_with("{tag}") {
            asked.push((path.replace("{any}", "x").replace("{tag}", "a%20b"), ""));
        }
        let mut had = BTreeSet::new();
        for (target, body) in asked {
            let reply = send(&edge, method, &target, body).await;
            hold(&document, operation, &reply, &format!("{method} {target} {body}"));
            had.insert(reply.status.as_u16());
        }
        assert!(had.contains(&200), "{path} {method} has succeeded: {had:?}");
        statuses.extend(had);
    }
    assert!(statuses.is_superset(&BTreeSet::from([200, 400])), "good and bad ones: {statuses:?}");
}

#[tokio::test]
async fn refusals_are_as_the_document_says() {
    let origin = Origin::serve(|_| ok("body")).await;
    let text = before(origin.address()).text();
    let shut = Edge::started(&text.replace("[admin]", "[admin]\ntoken = \"geheim\"")).await;
    let open = Edge::started(&text).await;
    let document = document(&open).await;
    let problem = json!({ "$ref": "#/components/schemas/Problem" });
    for (path, method, operation) in operations(&document) {
        let target = path.replace("{any}", "x").replace("{tag}", "t");
        let reply = send(&shut, method, &target, "").await;
        let is_open = operation["security"] == json!([]);
        assert_eq!(reply.status == 401, !is_open, "{path}: {}", reply.status);
        hold(&document, operation, &reply, &format!("{method} {target} without the token"));
        if method == "post" {
            let many = json!({ "tags": vec!["t"; 1025], "surrogate_keys": vec!["t"; 1025] });
            let many = if path == "/purge" { json!({ "tags": many["tags"] }) } else { many };
            let request = ask("POST", &target).header("origin", "http://evil.test");
            let reply = Connection::to(open.admin_address()).await.send(request, "").await;
            assert_eq!(reply.status, 403);
            hold(&document, operation, &reply, &format!("{target} from a page"));
            let huge = format!("{many}{}", " ".repeat(5 << 20));
            let reply = send(&open, method, &target, &huge).await;
            assert_eq!(reply.status, 413);
            hold(&document, operation, &reply, &format!("{target} with a huge body"));
        }
        let other = if method == "get" { "DELETE" } else { "GET" };
        let reply = send(&open, other, &target, "").await;
        assert_eq!(reply.status, 405, "{other} {target}");
        let body = serde_json::from_slice(&reply.body).expect("a problem");
        assert_eq!(faults(&document, &problem, &body), Vec::<String>::new(), "{other} {target}: {body}");
    }
    let reply = send(&open, "GET", "/no-such-page", "").await;
    let body = serde_json::from_slice(&reply.body).expect("a problem");
    assert_eq!((reply.status.as_u16(), faults(&document, &problem, &body).len()), (404, 0), "{body}");
}

#[tokio::test]
async fn bodies_are_taken_exactly_when_the_document_says_so() {
    let origin = Origin::serve(|_| ok("body")).await;
    let edge = before(origin.address()).start().await;
    let document = document(&edge).await;
    let cases: [(&str, &str, bool, &str); 13] = [
        ("/purge", r#"{"tags":["t"]}"#, true, "tags"),
        ("/purge", r#"{"files":["http://a.test/",{"url":"http://b.test/","headers":{"a":"b"}}]}"#, true, "Cloudflare"),
        (
            "/purge",
            r#"{"purge_everything":true,"soft":true,"dry_run":true,"wait":"all"}"#,
            true,
            "Cloudflare, all of it",
        ),
        ("/purge", r#"{"tags":"t"}"#, false, "no list"),
        ("/purge", r#"{"tags":null}"#, false, "null"),
        ("/purge", r#"{"surrogate_keys":["t"]}"#, false, "belongs elsewhere"),
        ("/purge", r#"{"files":[{"url":"http://a.test/","header":1}]}"#, false, "an unknown key"),
        ("/purge", r#"{"tags":["t"],"wait":"none"}"#, false, "an unknown word"),
        ("/purge/{tag}", r#"{"soft":true}"#, true, "terms"),
        ("/purge/{tag}", r#"{"tags":["t"]}"#, false, "the path names it"),
        ("/service/{any}/purge", r#"{"surrogate_keys":["t"],"soft":false}"#, true, "Fastly"),
        ("/service/{any}/purge", r#"{"surrogate_keys":[1]}"#, false, "no tag"),
        ("/service/{any}/purge_all", "{}", true, "no terms"),
    ];
    for (path, body, want, why) in cases {
        let operation = &document["paths"][path]["post"];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        let value = serde_json::from_str(body).expect("the test's JSON");
        assert_eq!(faults(&document, schema, &value).is_empty(), want, "{path} {body}: {why}, by the document");
        let target = path.replace("{any}", "x").replace("{tag}", "t");
        let reply = send(&edge, "post", &target, body).await;
        assert_eq!(reply.status == 200, want, "{path} {body}: {why}: {}", reply.text());
    }
}

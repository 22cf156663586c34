//! What does the `OpenAPI` document say of the admin listener?
//!
//! Paths from the [`table`](super::table), schemas from the wire's types: neither can be forgotten here.

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use super::OPENMETRICS;
use super::query::MAX_LIMIT;
use super::table::{Page, Parameter, Purge, ROUTES, Route, View};
use crate::wire::explain::Explanation;
use crate::wire::objects::{Objects, Stats};
use crate::wire::purge::{KeyedPurge, Problem, PurgeRequest, PurgeTerms, Purges, Receipt};

/// Fields of a request to purge that say how.
const PURGE_FIELDS: [(&str, &str); 2] = [
    ("Soft-Purge", "`1` or `true`: stale rather than gone, as `soft` in the body."),
    ("Fastly-Soft-Purge", "The same, as plug-ins for Fastly send it."),
];

/// The document, in `OpenAPI` 3.1.
pub(super) fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(write);
    &DOCUMENT
}

fn write() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in ROUTES {
        let operation = schemas.operation(route);
        let methods = paths.entry(route.pattern).or_insert_with(|| json!({}));
        methods[method(route.page)] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Larder's admin listener",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Pages that are read by GET are read by HEAD too. A path that is not here is answered with \
                404, another method with 405; both with a Problem.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "description": "`admin.token`, where one is set." },
                "fastly": { "type": "apiKey", "in": "header", "name": "Fastly-Key", "description": "The same token." },
            },
        },
    })
}

/// The method under which the document has the operation.
fn method(page: Page) -> &'static str {
    match page {
        Page::View(_) => "get",
        Page::Purge(_) => "post",
    }
}

/// The schemas of what is sent and of what is answered. The same type may be written always, and read with gaps.
struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
        Self {
            sent: settings().for_deserialize().into_generator(),
            answered: settings().for_serialize().into_generator(),
        }
    }

    fn into_definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.sent.take_definitions(true);
        definitions.extend(self.answered.take_definitions(true));
        definitions
    }

    fn operation(&mut self, route: &Route) -> Value {
        let mut operation = json!({
            "operationId": operation_id(route),
            "summary": route.says,
            "parameters": parameters(route),
            "responses": self.responses(route),
            // None is needed where no token is set.
            "security": if route.is_open { json!([]) } else { json!([{ "bearer": [] }, { "fastly": [] }, {}]) },
        });
        if let Page::Purge(purge) = route.page {
            let schema = match purge {
                Purge::Named => self.sent::<PurgeRequest>(),
                Purge::ServiceTags => self.sent::<KeyedPurge>(),
                Purge::Tag | Purge::ServiceTag | Purge::Service => self.sent::<PurgeTerms>(),
            };
            operation["requestBody"] = json!({
                "required": purge == Purge::Named,
                "content": { "application/json": { "schema": schema } },
            });
        }
        operation
    }

    /// Each status that the operation can give, with what comes with it.
    fn responses(&mut self, route: &Route) -> Value {
        let page = |what: &str, content: Value| json!({ "description": what, "content": content });
        let json_of = |schema: Value| json!({ "application/json": { "schema": schema } });
        let text = |kind: &str| json!({ kind: { "schema": { "type": "string" } } });
        let done = match route.page {
            Page::View(View::Live | View::Ready) => text("text/plain"),
            Page::View(View::Metrics) => text(OPENMETRICS.split(';').next().unwrap_or(OPENMETRICS)),
            Page::View(View::Stats) => json_of(self.answered::<Stats>()),
            Page::View(View::Objects) => json_of(self.answered::<Objects>()),
            Page::View(View::Explain) => json_of(self.answered::<Explanation>()),
            Page::View(View::Purges) => json_of(self.answered::<Purges>()),
            Page::View(View::OpenApi) => json_of(json!({ "type": "object", "required": ["openapi", "paths"] })),
            Page::Purge(_) => json_of(self.answered::<Receipt>()),
        };
        let mut responses = Map::from_iter([("200".to_owned(), page("As asked.", done.clone()))]);
        if matches!(route.page, Page::Purge(_)) {
            let what = "In force on this node; nodes that live and have not confirmed it in time are named.";
            responses.insert("202".to_owned(), page(what, done.clone()));
            let what = "In force on this node; the others could not be told, which is tried until it is done.";
            responses.insert("503".to_owned(), page(what, done));
        }
        if route.page == Page::View(View::Ready) {
            responses
                .insert("503".to_owned(), page("Not now: it ends, or no origin can be asked.", text("text/plain")));
        }
        let problem = self.answered::<Problem>();
        for (status, what) in problems(route) {
            responses.insert(status.to_owned(), page(what, json_of(problem.clone())));
        }
        Value::Object(responses)
    }

    fn sent<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().into()
    }

    fn answered<T: JsonSchema>(&mut self) -> Value {
        self.answered.subschema_for::<T>().into()
    }
}

/// The statuses of a route that come with a problem.
fn problems(route: &Route) -> Vec<(&'static str, &'static str)> {
    let mut problems = Vec::new();
    if !route.is_open {
        problems.push(("401", "The admin token is missing or wrong."));
    }
    if route.parameters.is_some() {
        problems.push(("400", "The request says something that cannot be; the reason tells what to write instead."));
    }
    if matches!(route.page, Page::Purge(_)) {
        problems.push(("403", "A page of another site asked, and no token is set."));
        problems.push(("408", "The body took longer than 10 seconds."));
        problems.push(("413", "More than 1024 names of one kind, or a body over 4 MiB."));
    }
    if matches!(route.page, Page::Purge(_) | Page::View(View::Metrics | View::Objects)) {
        problems.push(("500", "A fault of Larder itself."));
    }
    problems
}

/// `get_stats`, `post_purge_tag`: the method and the words of the path.
fn operation_id(route: &Route) -> String {
    let words = route.pattern.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method(route.page)).chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let in_path = route.pattern.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let in_path = in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }));
    let in_query = route.parameters.unwrap_or_default().iter().map(in_query);
    let mut fields = Vec::new();
    if let Page::Purge(purge) = route.page {
        fields.extend(PURGE_FIELDS);
        if purge == Purge::ServiceTags {
            fields
                .push(("Surrogate-Key", "The tags, divided by spaces; so may the other `purge.tag_headers` say them."));
        }
    }
    let in_fields = fields
        .into_iter()
        .map(|(name, says)| json!({ "name": name, "in": "header", "description": says, "schema": text }));
    in_path.chain(in_query).chain(in_fields).collect()
}

fn in_query(parameter: &Parameter) -> Value {
    let number = json!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT });
    let one = if parameter.is_number { number } else { json!({ "type": "string" }) };
    let schema = if parameter.is_repeated { json!({ "type": "array", "items": one }) } else { one };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": parameter.is_required,
        "description": parameter.says,
        "schema": schema,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_and_the_document_have_the_same_routes() {
        let in_table: BTreeSet<_> = ROUTES.iter().map(|route| (route.pattern, method(route.page))).collect();
        let paths = document()["paths"].as_object().expect("paths by pattern");
        let in_document = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("operations by method");
            methods.keys().map(move |method| (path.as_str(), method.as_str()))
        });
        assert_eq!(in_document.collect::<BTreeSet<_>>(), in_table);
        assert_eq!(in_table.len(), ROUTES.len(), "no row stands twice");
    }
}

//! Which rules never count, because later ones overrule all that they say?

use super::rules::keys_of;
use super::{covers_host, covers_path};
use crate::config::file::{Match, Rule};
use crate::config::finding::Findings;
use crate::config::located::{At, Several, Word};
use crate::policy::treatment::Glob;

/// Adds a warning for each rule whose every key is overridden wherever the rule matches.
pub(super) fn lint(rules: &[At<Rule>], findings: &mut Findings) {
    let keys: Vec<Vec<&str>> =
        rules.iter().map(|rule| keys_of(rule).into_iter().map(|(key, _)| key).collect()).collect();
    for (index, rule) in rules.iter().enumerate().filter(|(index, _)| !keys[*index].is_empty()) {
        let mut left = keys[index].clone();
        for (later, keys) in rules.iter().zip(&keys).skip(index + 1) {
            // The cheap question first: with many rules, most pairs have nothing to do with each other.
            if !keys.iter().any(|key| left.contains(key)) || !covers(later, rule) {
                continue;
            }
            left.retain(|key| !keys.contains(key));
            if left.is_empty() {
                let span = rule.name.as_ref().and_then(|name| name.span.clone()).or_else(|| rule.span.clone());
                let what = "the rule has no effect: a later one matches whatever it matches, and sets the same keys";
                findings.warning(
                    span,
                    what,
                    "put the general rule first: later rules override earlier ones, key by key",
                );
                findings.related(
                    later.name.as_ref().and_then(|name| name.span.clone()).or_else(|| later.span.clone()),
                    "the later one",
                );
                break;
            }
        }
    }
}

/// Whether `general` matches every request that `special` matches. Where it is hard to tell: no.
pub(super) fn covers(general: &Rule, special: &Rule) -> bool {
    let Some(general) = &general.matcher else { return true };
    let nothing = Match::default();
    let special = special.matcher.as_ref().map_or(&nothing, |matcher| &matcher.value);
    each(general.host.as_ref(), special.host.as_ref(), |one, other| covers_host(&one.0, &other.0))
        && each(general.path.as_ref(), special.path.as_ref(), |one, other| covers_path(one, other))
        && each(general.method.as_ref(), special.method.as_ref(), |one, other| one.value == other.value)
        && regex_covers(general, special)
        && headers_cover(general, special)
}

/// Whether each alternative of `special` is covered by one of `general`.
fn each<T>(
    general: Option<&Several<T>>,
    special: Option<&Several<T>>,
    covers: impl Fn(&Word<T>, &Word<T>) -> bool,
) -> bool {
    match (general, special) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(general), Some(special)) => {
            special.list.iter().all(|other| general.list.iter().any(|one| covers(one, other)))
        }
    }
}

fn regex_covers(general: &Match, special: &Match) -> bool {
    let Some(regex) = &general.path_regex else { return true };
    special.path_regex.as_ref().is_some_and(|other| other.text == regex.text)
}

/// Each field that `general` asks for, `special` asks for too, and no less narrowly.
fn headers_cover(general: &Match, special: &Match) -> bool {
    let wanted = general.header.iter().flat_map(|fields| &fields.list);
    let given: Vec<_> = special.header.iter().flat_map(|fields| &fields.list).collect();
    wanted.into_iter().all(|(name, value)| {
        let glob = Glob::new(&value.text.to_ascii_lowercase());
        given.iter().any(|(other, text)| other.value == name.value && glob.matches(&text.text.to_ascii_lowercase()))
    })
}

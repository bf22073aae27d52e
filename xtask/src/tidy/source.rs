//! A Rust source with comments, literals and test code blanked, so that a rule can look for words without
//! parsing. Blanking keeps every line break: line numbers are those of the file.

/// Comments, string and character literals replaced by spaces. Quotes of strings stay.
pub(crate) fn blank_comments_and_literals(text: &str) -> String {
    let src: Vec<char> = text.chars().collect();
    let mut out = src.clone();
    let mut at = 0;
    while at < src.len() {
        let next = src.get(at + 1).copied();
        let end = match (src[at], next) {
            ('/', Some('/')) => blank(&mut out, at, line_end(&src, at)),
            ('/', Some('*')) => blank(&mut out, at, block_comment_end(&src, at)),
            ('"', _) => {
                let end = string_end(&src, at + 1);
                blank(&mut out, at + 1, end.saturating_sub(1));
                end
            }
            ('r', Some('"' | '#')) if starts_literal(&src, at) => match raw_string(&src, at) {
                Some((open, close, end)) => {
                    blank(&mut out, open, close);
                    end
                }
                None => at + 1,
            },
            ('\'', Some('\\')) => {
                let end = (at + 3..src.len()).find(|&i| src[i] == '\'').map_or(src.len(), |i| i + 1);
                blank(&mut out, at, end)
            }
            ('\'', Some(_)) if src.get(at + 2) == Some(&'\'') => blank(&mut out, at, at + 3),
            _ => at + 1,
        };
        at = end;
    }
    out.into_iter().collect()
}

fn blank(out: &mut [char], from: usize, to: usize) -> usize {
    for c in &mut out[from..to] {
        if *c != '\n' {
            *c = ' ';
        }
    }
    to
}

fn line_end(src: &[char], at: usize) -> usize {
    (at..src.len()).find(|&i| src[i] == '\n').unwrap_or(src.len())
}

/// Block comments nest.
fn block_comment_end(src: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < src.len() {
        match (src[i], src.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    src.len()
}

/// One past the closing quote; `from` is one past the opening one.
fn string_end(src: &[char], from: usize) -> usize {
    let mut i = from;
    while i < src.len() {
        match src[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    src.len()
}

/// Whether the `r` at `at` begins a literal (`r"`, `br#"`, `cr"`) and does not end an identifier.
fn starts_literal(src: &[char], at: usize) -> bool {
    let before = |i: usize| i.checked_sub(1).map(|j| src[j]).filter(|&c| is_word(c));
    match before(at) {
        None => true,
        Some('b' | 'c') => before(at - 1).is_none(),
        Some(_) => false,
    }
}

/// (first inner character, closing quote, one past the literal), or `None` for a raw identifier.
fn raw_string(src: &[char], at: usize) -> Option<(usize, usize, usize)> {
    let hashes = src[at + 1..].iter().take_while(|&&c| c == '#').count();
    let open = at + 1 + hashes;
    if src.get(open) != Some(&'"') {
        return None;
    }
    let closes = |i: usize| src[i] == '"' && src[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes;
    let close = (open + 1..src.len()).find(|&i| closes(i));
    Some(close.map_or((open + 1, src.len(), src.len()), |i| (open + 1, i, i + 1 + hashes)))
}

/// `code` (already blanked once) without the items under `#[cfg(test)]` or `#[cfg(all(test, ..))]`, and the
/// names of the modules that are declared under it (`#[cfg(test)] mod name;`).
pub(crate) fn blank_tests(code: &str) -> (String, Vec<String>) {
    let src: Vec<char> = code.chars().collect();
    let mut out = src.clone();
    let mut modules = Vec::new();
    let mut at = 0;
    while at < src.len() {
        if src[at] != '#' {
            at += 1;
            continue;
        }
        let Some((attribute, after)) = attribute(&src, at) else {
            at += 1;
            continue;
        };
        let end = match attribute.as_str() {
            "#![cfg(test)]" => src.len(),
            text if text.starts_with("#[cfg(test)") || text.starts_with("#[cfg(all(test,") => {
                let end = item_end(&src, after);
                let item: String = src[after..end].iter().collect();
                modules.extend(declared_module(&item));
                end
            }
            _ => {
                at = after;
                continue;
            }
        };
        at = blank(&mut out, at, end);
    }
    (out.into_iter().collect(), modules)
}

/// The attribute that starts at `at`, without white space, and the position after it.
fn attribute(src: &[char], at: usize) -> Option<(String, usize)> {
    let mut depth = 0;
    for i in at..src.len() {
        match src[i] {
            '[' => depth += 1,
            ']' if depth == 1 => {
                return Some((src[at..=i].iter().filter(|c| !c.is_whitespace()).collect(), i + 1));
            }
            ']' => depth -= 1,
            '#' | '!' if depth == 0 => {}
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// One past the item that starts at `at`: its `;`, or the brace that closes its first brace.
fn item_end(src: &[char], at: usize) -> usize {
    let (mut nested, mut braces) = (0i32, 0i32);
    for (i, c) in src.iter().enumerate().skip(at) {
        match c {
            '(' | '[' => nested += 1,
            ')' | ']' => nested -= 1,
            '{' => braces += 1,
            '}' if braces == 0 => return i,
            '}' => {
                braces -= 1;
                if braces == 0 && nested == 0 {
                    return i + 1;
                }
            }
            ';' if nested == 0 && braces == 0 => return i + 1,
            _ => {}
        }
    }
    src.len()
}

/// `name` of an item `... mod name;`.
fn declared_module(item: &str) -> Option<String> {
    let before = item.strip_suffix(';')?;
    let mut words = before.split_whitespace().rev();
    let name = words.next()?;
    (words.next() == Some("mod")).then(|| name.to_owned())
}

/// Part of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every identifier or number of `code` with its line (from 1) and the text after it.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    let mut line = 1;
    let mut rest = code;
    std::iter::from_fn(move || {
        let start = rest.find(is_word)?;
        line += rest[..start].matches('\n').count();
        let from = &rest[start..];
        let len = from.find(|c| !is_word(c)).unwrap_or(from.len());
        rest = &from[len..];
        Some((line, &from[..len], rest))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_go_and_lines_stay() {
        let text = "let a = \"x // y\"; // todo\n/* a /* b */ c */ let b = 'x';\nlet c = r#\"q\" z\"#; let d: &'a str;\n";
        let code = blank_comments_and_literals(text);
        assert_eq!(code.lines().count(), 3);
        for gone in ["todo", "y", "x", "a /*", "q", "z"] {
            assert!(!words(&code).any(|(_, word, _)| word == gone), "{gone} left in {code}");
        }
        for kept in ["a", "b", "c", "d", "str"] {
            assert!(words(&code).any(|(_, word, _)| word == kept), "{kept} lost in {code}");
        }
    }

    #[test]
    fn quotes_inside_literals_do_not_derail() {
        let text =
            r##"let a = ['"', '\'', '\\', b'"']; let r#type = br"\"; let s = "\"kept\\"; fn live() {}"##;
        let code = blank_comments_and_literals(text);
        assert!(code.ends_with("fn live() {}"), "{code}");
        assert!(!code.contains("kept"), "{code}");
    }

    #[test]
    fn test_items_go() {
        let code = "#[cfg(test)]\n#[allow(x)]\nmod tests { fn f() { gone(); } }\nfn live() {}\n\
                    #[cfg(all(test, unix))] mod more;\n#[cfg(test)] use a::{gone, b};\nstatic K: [u8; 2];\n\
                    #[cfg(test)]\nconst A: [u8; 3] = gone();\n#[cfg(not(test))] fn kept() {}";
        let (live, modules) = blank_tests(code);
        assert_eq!(live.lines().count(), code.lines().count());
        assert!(!live.contains("gone"), "{live}");
        assert!(live.contains("fn live") && live.contains("fn kept") && live.contains("static K"), "{live}");
        assert_eq!(modules, ["more"]);
    }

    #[test]
    fn words_know_their_line() {
        let found: Vec<_> = words("a::b\n c!").map(|(line, word, _)| (line, word)).collect();
        assert_eq!(found, [(1, "a"), (1, "b"), (2, "c")]);
    }
}

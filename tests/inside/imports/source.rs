//! What one file declares, imports and names.

use std::collections::BTreeSet;

use super::words::{Token, tokens};

#[derive(Debug, Default)]
pub struct Source {
    /// The modules that it declares.
    pub children: Vec<String>,
    /// Those of them whose macros are seen beside them.
    pub children_with_macros: Vec<String>,
    pub imports: Vec<Import>,
    /// What it defines, on whatever level.
    pub names: BTreeSet<String>,
    pub macros: BTreeSet<String>,
    pub called_macros: BTreeSet<String>,
    /// Paths of two parts and more, outside of imports.
    pub paths: Vec<Vec<String>>,
    /// Every word outside of imports.
    pub words: BTreeSet<String>,
    depth: usize,
    /// Of each module within this file that is open: the depth of its block.
    within: Vec<usize>,
}

/// One name that a `use` brings in; for a glob, whatever the module has.
#[derive(Debug, PartialEq, Eq)]
pub struct Import {
    pub path: Vec<String>,
    pub name: String,
    pub glob: bool,
    /// `pub`, in any form.
    pub visible: bool,
}

const DEFINING: [&str; 8] = ["fn", "struct", "enum", "union", "trait", "type", "const", "static"];

impl Source {
    pub fn read(text: &str) -> Source {
        let tokens = tokens(text);
        let mut source = Source::default();
        let mut at = 0;
        while at < tokens.len() {
            at = source.take(&tokens, at);
        }
        source
    }

    /// Takes what begins at this token; where the next begins.
    fn take(&mut self, tokens: &[Token], at: usize) -> usize {
        let Some(word) = tokens[at].word() else {
            match tokens[at] {
                Token::Sign('{') => self.depth += 1,
                Token::Sign('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    self.within.pop_if(|block| *block == self.depth);
                }
                _ => {}
            }
            return at + 1;
        };
        let next = tokens.get(at + 1);
        let next_word = next.and_then(Token::word);
        match (word, next) {
            ("use", Some(token)) if !token.is('<') => {
                let visible = at > 0 && (tokens[at - 1].word() == Some("pub") || tokens[at - 1].is(')'));
                return self.take_imports(tokens, at + 1, Vec::new(), visible);
            }
            ("mod", Some(Token::Word(name))) => {
                if tokens.get(at + 2).is_some_and(|token| token.is('{')) {
                    self.within.push(self.depth);
                    return at + 2;
                }
                self.children.push(name.clone());
                let before = &tokens[..at];
                let before = before.strip_suffix(&[Token::Word("pub".into())]).unwrap_or(before);
                if before.ends_with(&[Token::Word("macro_use".into()), Token::Sign(']')]) {
                    self.children_with_macros.push(name.clone());
                }
                return at + 3;
            }
            ("macro_rules", _) => {
                let name = tokens.get(at + 2).and_then(Token::word).unwrap_or_default();
                self.macros.insert(name.to_owned());
                return at + 3;
            }
            (_, Some(Token::Sign('!'))) if !tokens.get(at + 2).is_some_and(|token| token.is('=')) => {
                self.called_macros.insert(word.to_owned());
            }
            _ => {}
        }
        if DEFINING.contains(&word) {
            self.names.extend(next_word.map(str::to_owned));
        }
        self.take_path(tokens, at)
    }

    fn take_path(&mut self, tokens: &[Token], start: usize) -> usize {
        let mut path = Vec::new();
        let mut at = start;
        while let Some(word) = tokens.get(at).and_then(Token::word) {
            path.push(word.to_owned());
            at += 1;
            match tokens.get(at) {
                Some(Token::Path) => at += 1,
                _ => break,
            }
        }
        self.words.extend(path.iter().cloned());
        // What follows `::` or `.` belongs to something that is no module.
        let begins = start == 0 || !(tokens[start - 1] == Token::Path || tokens[start - 1].is('.'));
        if begins && path.len() > 1 {
            self.paths.push(self.of_the_file(path));
        }
        at
    }

    /// A path as it is meant at the top of the file: from a module within it, `super` leads there.
    fn of_the_file(&self, path: Vec<String>) -> Vec<String> {
        let out = path.iter().take_while(|part| *part == "super").count().min(self.within.len());
        if out == 0 { path } else { std::iter::once("self".to_owned()).chain(path.into_iter().skip(out)).collect() }
    }

    /// One tree of imports, up to the sign behind it.
    fn take_imports(&mut self, tokens: &[Token], start: usize, prefix: Vec<String>, visible: bool) -> usize {
        let mut path = prefix;
        let mut at = start;
        loop {
            match &tokens[at] {
                Token::Path if at == start && path.is_empty() => {
                    // `::name` is of another crate, whatever is called the same here.
                    path.push("::".to_owned());
                    at += 1;
                }
                Token::Path => at += 1,
                Token::Sign('{') => {
                    at += 1;
                    while !tokens[at].is('}') {
                        at = self.take_imports(tokens, at, path.clone(), visible);
                        at += usize::from(tokens[at].is(','));
                    }
                    return at + 1;
                }
                Token::Sign('*') => {
                    let path = self.of_the_file(path);
                    self.imports.push(Import { path, name: "*".to_owned(), glob: true, visible });
                    return at + 1;
                }
                Token::Word(word) if word == "as" => {
                    let name = tokens[at + 1].word().unwrap_or_default().to_owned();
                    let path = self.of_the_file(path);
                    self.imports.push(Import { path, name, glob: false, visible });
                    return at + 2;
                }
                Token::Word(word) => {
                    let itself = word == "self" && !path.is_empty();
                    if !itself {
                        path.push(word.clone());
                    }
                    at += 1;
                    let goes_on = tokens[at] == Token::Path || tokens[at].word() == Some("as");
                    if !goes_on {
                        let name = path.last().cloned().unwrap_or_default();
                        let path = self.of_the_file(path);
                        self.imports.push(Import { path, name, glob: false, visible });
                        return at;
                    }
                }
                Token::Sign(_) => return at,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(text: &str) -> Vec<String> {
        let shown = |import: &Import| {
            let as_ =
                if import.path.last() == Some(&import.name) { String::new() } else { format!(" as {}", import.name) };
            format!("{}{}{as_}", if import.visible { "pub " } else { "" }, import.path.join("::"))
        };
        Source::read(text).imports.iter().map(shown).collect()
    }

    #[test]
    fn imports_are_read_in_all_their_forms() {
        assert_eq!(imports("use crate::model::Id;"), ["crate::model::Id"]);
        assert_eq!(
            imports("use crate::{\n  model::{Id, Phase as P},\n  store::{self, Root},\n  sys,\n};"),
            ["crate::model::Id", "crate::model::Phase as P", "crate::store", "crate::store::Root", "crate::sys"]
        );
        assert_eq!(
            imports("pub use a::B; pub(super) use c::*; use std::io::{self as x, Write as _};")[..2],
            ["pub a::B", "pub c as *"]
        );
        assert_eq!(imports("fn f() -> impl Iterator + use<> { use super::g; }"), ["super::g"]);
    }

    #[test]
    fn paths_in_the_code_are_read_and_what_hangs_on_a_value_is_not() {
        let source = Source::read(
            "fn f(a: crate::x::Y) -> Z { a.crate_::b(); super::k::<u8>(); <T as U>::v(); w!(self::q::r) }",
        );
        let paths: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(paths, ["crate::x::Y", "super::k", "self::q::r"]);
        assert_eq!(source.called_macros.into_iter().collect::<Vec<_>>(), ["w"]);
    }

    #[test]
    fn a_module_within_the_file_is_read_as_a_part_of_it() {
        let source =
            Source::read("mod a { use super::B; fn f() { super::c(); super::super::d() } } fn g() { super::e() }");
        let paths: Vec<String> = source.paths.iter().map(|path| path.join("::")).collect();
        assert_eq!(paths, ["self::c", "self::super::d", "super::e"]);
        assert_eq!(source.imports[0].path, ["self", "B"]);
    }

    #[test]
    fn what_a_file_defines_is_known_on_every_level() {
        let source = Source::read(
            "pub struct A; impl A { const B: u8 = 1; fn c() {} } macro_rules! d { () => {} } mod e; pub mod f;",
        );
        assert_eq!(source.names.into_iter().collect::<Vec<_>>(), ["A", "B", "c"]);
        assert_eq!(source.macros.into_iter().collect::<Vec<_>>(), ["d"]);
        assert_eq!(source.children, ["e", "f"]);
    }
}

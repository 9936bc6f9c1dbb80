//! Which file of `src` names what of which other one.
//!
//! ```text
//! text ─ words ─▶ tokens ─ source ─▶ what a file declares, imports and names ─ here ─▶ ties between files
//! ```
//!
//! A name is followed to the file that has it, through every re-export on the way: whoever imports `store::Root` is tied
//! to the file of `Root`, not to `store/mod.rs`. So a `mod.rs` that only declares and re-exports ties nobody; one with
//! code of its own is a file like any other.
//!
//! What only the compiler can know is not seen: a method is called without naming the file that it stands in.

mod source;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

pub use source::Source;

/// What ties a file to another: the names that it uses of it.
pub type Ties = BTreeMap<(usize, usize), BTreeSet<String>>;

/// The product's code, its tests left out.
pub struct Sources {
    /// By module: `[]` is lib.rs, `["store", "layout"]` is src/store/layout.rs.
    modules: BTreeMap<Vec<String>, usize>,
    files: Vec<File>,
}

struct File {
    module: Vec<String>,
    /// Below `src`.
    path: PathBuf,
    source: Source,
}

enum Found {
    Module(Vec<String>),
    /// A name of this file.
    Name(usize, String),
    /// Of another crate.
    Elsewhere,
}

/// More re-exports of re-exports than this are a ring of them.
const MOST_STEPS: usize = 32;

impl Sources {
    /// Everything that `lib.rs` in this folder declares.
    pub fn read(folder: &Path) -> Sources {
        Sources::read_with(&|path| fs::read_to_string(folder.join(path)).ok())
    }

    fn read_with(text_of: &dyn Fn(&Path) -> Option<String>) -> Sources {
        let mut sources = Sources { modules: BTreeMap::new(), files: Vec::new() };
        sources.add(Vec::new(), "lib.rs".into(), text_of);
        sources
    }

    fn add(&mut self, module: Vec<String>, path: PathBuf, text_of: &dyn Fn(&Path) -> Option<String>) {
        let text = text_of(&path).unwrap_or_else(|| panic!("{} is declared and not there", path.display()));
        let source = Source::read(&text);
        let children = source.children.clone();
        self.modules.insert(module.clone(), self.files.len());
        let folder: PathBuf = module.iter().collect();
        self.files.push(File { module: module.clone(), path, source });
        for child in children {
            let flat = folder.join(format!("{child}.rs"));
            let path = if text_of(&flat).is_some() { flat } else { folder.join(&child).join("mod.rs") };
            let child = module.iter().cloned().chain([child]).collect();
            self.add(child, path, text_of);
        }
    }

    pub fn path(&self, file: usize) -> &Path {
        &self.files[file].path
    }

    /// The folder of `src` that a file lies in.
    pub fn layer(&self, file: usize) -> Option<&str> {
        self.files[file].module.first().map(String::as_str)
    }

    /// Every tie between two files.
    pub fn ties(&self) -> Ties {
        let mut ties = Ties::new();
        for (from, file) in self.files.iter().enumerate() {
            for found in self.named_by(file) {
                if let Found::Name(to, name) = found
                    && to != from
                {
                    ties.entry((from, to)).or_default().insert(name);
                }
            }
        }
        ties
    }

    fn named_by(&self, file: &File) -> Vec<Found> {
        let mut found = Vec::new();
        let source = &file.source;
        for import in &source.imports {
            if import.glob {
                found.extend(self.taken_by_glob(file, &import.path));
                continue;
            }
            let target = self.resolve(&file.module, &import.path, MOST_STEPS);
            let own_child = matches!(&target, Found::Name(to, _) if self.files[*to].module.starts_with(&file.module));
            // A re-export of what lies below ties nobody, unless the code here uses it as well.
            if !(import.visible && own_child) || source.words.contains(&import.name) {
                found.push(target);
            }
        }
        for path in &source.paths {
            let head = &path[0];
            let own = ["crate", "self", "super"].contains(&head.as_str())
                || source.children.contains(head)
                || source.imports.iter().any(|import| import.name == *head);
            if own {
                found.push(self.resolve(&file.module, path, MOST_STEPS));
            }
        }
        found.extend(source.called_macros.iter().filter_map(|name| self.home_of_macro(&file.module, name)));
        found
    }

    fn taken_by_glob(&self, file: &File, path: &[String]) -> Vec<Found> {
        let Found::Module(module) = self.resolve(&file.module, path, MOST_STEPS) else { return Vec::new() };
        let theirs = &self.files[self.modules[&module]].source;
        let has =
            |word: &&String| theirs.names.contains(*word) || theirs.imports.iter().any(|other| other.name == **word);
        file.source.words.iter().filter(has).map(|word| self.step(&module, word, MOST_STEPS)).collect()
    }

    /// `macro_rules!` go by where they stand in the text: what lies below the file that has one sees it, with
    /// `#[macro_use]` also what lies beside it.
    fn home_of_macro(&self, module: &[String], name: &str) -> Option<Found> {
        let sees = |home: &File| {
            let parent = home.module.split_last().map(|(last, parent)| (last, parent.to_vec()));
            let shared = parent
                .as_ref()
                .filter(|(last, parent)| self.files[self.modules[parent]].source.children_with_macros.contains(*last));
            home.source.macros.contains(name) && module.starts_with(shared.map_or(&home.module, |(_, parent)| parent))
        };
        let homes = self.files.iter().enumerate().filter(|(_, home)| sees(home));
        homes.max_by_key(|(_, home)| home.module.len()).map(|(at, _)| Found::Name(at, format!("{name}!")))
    }

    /// What a path means that is written in this module.
    fn resolve(&self, module: &[String], path: &[String], steps: usize) -> Found {
        let mut at = module.to_vec();
        let mut rest = path.iter();
        let mut rooted = false;
        while let Some(part) = rest.as_slice().first() {
            match part.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()),
                _ => break,
            }
            rooted = true;
            rest.next();
        }
        let source = &self.files[self.modules[&at]].source;
        if let Some(head) = rest.as_slice().first()
            && !rooted
            && !source.children.contains(head)
            && !source.imports.iter().any(|import| import.name == *head && import.path != path)
        {
            return Found::Elsewhere;
        }
        for part in rest {
            match self.step(&at, part, steps) {
                Found::Module(inner) => at = inner,
                found => return found,
            }
        }
        Found::Module(at)
    }

    /// What a name means in a module.
    fn step(&self, module: &[String], name: &str, steps: usize) -> Found {
        let file = self.modules[module];
        let source = &self.files[file].source;
        if source.children.iter().any(|child| child == name) {
            return Found::Module([module, &[name.to_owned()]].concat());
        }
        if steps == 0 {
            return Found::Name(file, name.to_owned());
        }
        if let Some(import) = source.imports.iter().find(|import| !import.glob && import.name == name) {
            return self.resolve(module, &import.path, steps - 1);
        }
        if source.names.contains(name) {
            return Found::Name(file, name.to_owned());
        }
        for import in source.imports.iter().filter(|import| import.glob) {
            if let Found::Module(other) = self.resolve(module, &import.path, steps - 1)
                && other != module
                && let Found::Name(at, name) = self.step(&other, name, steps - 1)
                && self.files[at].source.names.contains(&name)
            {
                return Found::Name(at, name);
            }
        }
        Found::Name(file, name.to_owned())
    }
}

/// The files that are tied in circles: each group with all ties within it.
pub fn circles(ties: &Ties) -> Vec<Vec<usize>> {
    let files: BTreeSet<usize> = ties.keys().flat_map(|(from, to)| [*from, *to]).collect();
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        files.iter().map(|file| (*file, reached_from(*file, ties))).collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for file in files.iter().filter(|file| reached[file].contains(file)) {
        match groups.iter_mut().find(|group| reached[file].contains(&group[0]) && reached[&group[0]].contains(file)) {
            Some(group) => group.push(*file),
            None => groups.push(vec![*file]),
        }
    }
    groups
}

fn reached_from(file: usize, ties: &Ties) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![file];
    while let Some(next) = ahead.pop() {
        for (_, to) in ties.range((next, 0)..(next + 1, 0)).map(|(tie, _)| tie) {
            if reached.insert(*to) {
                ahead.push(*to);
            }
        }
    }
    reached
}

/// A circle as the failing test tells it: each tie, with the names that make it.
pub fn told(group: &[usize], ties: &Ties, sources: &Sources) -> String {
    let within = ties.iter().filter(|((from, to), _)| group.contains(from) && group.contains(to));
    let lines = within.map(|((from, to), names)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("  {} ─▶ {}: {}", sources.path(*from).display(), sources.path(*to).display(), names.join(", "))
    });
    format!("a circle of {} files:\n{}", group.len(), lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let texts: BTreeMap<PathBuf, String> =
            files.iter().map(|(path, text)| (PathBuf::from(path), (*text).to_owned())).collect();
        Sources::read_with(&|path| texts.get(path).cloned())
    }

    /// `from ─▶ to: names`, sorted.
    fn ties(files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources(files);
        let line = |((from, to), names): (&(usize, usize), &BTreeSet<String>)| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{} ─▶ {}: {}", sources.path(*from).display(), sources.path(*to).display(), names.join(", "))
        };
        sources.ties().iter().map(line).collect()
    }

    const LIB: (&str, &str) = ("lib.rs", "mod a; mod b;");

    #[test]
    fn a_name_is_followed_through_re_exports_to_the_file_that_has_it() {
        let found = ties(&[
            LIB,
            ("a.rs", "use crate::b::{Deep, inner::Other}; fn f(x: Deep, y: Other) {}"),
            ("b/mod.rs", "pub mod inner; pub use inner::leaf::Deep;"),
            ("b/inner/mod.rs", "pub mod leaf; pub use leaf::Other;"),
            ("b/inner/leaf.rs", "pub struct Deep; pub enum Other {}"),
        ]);
        assert_eq!(found, ["a.rs ─▶ b/inner/leaf.rs: Deep, Other"]);
    }

    #[test]
    fn a_module_that_is_imported_ties_by_what_is_used_of_it() {
        let found = ties(&[
            LIB,
            ("a.rs", "use crate::b::{self, leaf}; fn f() { b::here(); leaf::there(leaf::Kind::One) }"),
            ("b/mod.rs", "pub mod leaf; pub fn here() {}"),
            ("b/leaf.rs", "pub fn there(kind: Kind) {} pub enum Kind { One }"),
        ]);
        assert_eq!(found, ["a.rs ─▶ b/mod.rs: here", "a.rs ─▶ b/leaf.rs: Kind, there"]);
    }

    #[test]
    fn a_folder_that_only_declares_and_re_exports_is_in_no_circle_and_one_with_code_is() {
        let child = ("b/leaf.rs", "use super::Shared; pub fn leaf(shared: Shared) {} pub struct Out;");
        let pure =
            [LIB, ("a.rs", ""), ("b/mod.rs", "mod leaf; mod shared; pub use leaf::Out; pub use shared::Shared;")];
        let found = sources(&[&pure[..], &[child, ("b/shared.rs", "pub struct Shared;")]].concat());
        assert!(circles(&found.ties()).is_empty());

        let code = "mod leaf; pub use leaf::Out; pub struct Shared; pub fn run() { leaf::leaf(Shared) }";
        let found = sources(&[LIB, ("a.rs", ""), ("b/mod.rs", code), child]);
        let ties = found.ties();
        let groups = circles(&ties);
        assert_eq!(groups.len(), 1);
        let told = told(&groups[0], &ties, &found);
        assert!(told.contains("b/mod.rs ─▶ b/leaf.rs: leaf\n"), "{told}");
        assert!(told.contains("b/leaf.rs ─▶ b/mod.rs: Shared"), "{told}");
    }

    #[test]
    fn a_re_export_that_the_folder_itself_uses_is_a_tie_and_so_is_one_of_another_layer() {
        let found = ties(&[
            LIB,
            ("a.rs", "pub struct Theirs;"),
            ("b/mod.rs", "mod leaf; pub use leaf::Out; pub use crate::a::Theirs; pub fn f() -> Out { done() }"),
            ("b/leaf.rs", "pub struct Out;"),
        ]);
        assert_eq!(found, ["b/mod.rs ─▶ a.rs: Theirs", "b/mod.rs ─▶ b/leaf.rs: Out"]);
    }

    #[test]
    fn tests_tie_nobody_and_neither_do_comments_and_texts() {
        let found = ties(&[
            LIB,
            (
                "a.rs",
                "// crate::b::One\n/// [`crate::b::One`]\n/* crate::b::One /* nested */ */\n\
                 const T: &str = \"crate::b::One\"; const R: &str = r#\"crate::b::\"One\"#; const C: char = '\"';\n\
                 fn f<'a>(x: &'a str) {}\n\
                 #[cfg(test)]\nmod tests { use crate::b::One; fn g() { f(One) } }\n\
                 #[cfg(test)] use crate::b::One;\n\
                 fn after() { crate::b::two() }",
            ),
            ("b.rs", "pub struct One; pub fn two() {}"),
        ]);
        assert_eq!(found, ["a.rs ─▶ b.rs: two"]);
    }

    #[test]
    fn a_glob_ties_to_the_names_that_are_used_through_it() {
        let found = ties(&[
            LIB,
            ("a.rs", "use crate::b::*; fn f(x: One, y: Far) {}"),
            ("b/mod.rs", "mod leaf; pub use leaf::Far; pub struct One; pub struct Two;"),
            ("b/leaf.rs", "pub struct Far;"),
        ]);
        assert_eq!(found, ["a.rs ─▶ b/mod.rs: One", "a.rs ─▶ b/leaf.rs: Far"]);
    }

    #[test]
    fn a_macro_ties_whoever_sees_it_to_the_file_that_has_it() {
        let found = ties(&[
            LIB,
            ("a.rs", "fn f() { say!(1) }"),
            ("b/mod.rs", "#[macro_use] mod said; mod leaf;"),
            ("b/said.rs", "macro_rules! say { ($x:expr) => {} }"),
            ("b/leaf.rs", "fn f() { say!(1) }"),
        ]);
        assert_eq!(found, ["b/leaf.rs ─▶ b/said.rs: say!"]);
    }

    #[test]
    fn a_path_of_another_crate_is_not_taken_for_ours() {
        let found =
            ties(&[LIB, ("a.rs", "use nix::b::One; use ::b::Two; fn f() { std::b::x(); x.b::<u8>() }"), ("b.rs", "")]);
        assert_eq!(found, [""; 0]);
    }
}

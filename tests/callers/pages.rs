//! What the pages say of the repository is so: each page is in the index, links lead somewhere, files and tests that are named
//! are there, and lists that the code has as well are the same in both.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sandkeep::control::method::{ErrorCode, METHODS};
use sandkeep::model::exits::MAX_PAYLOAD;
use sandkeep::store::schema::{MAX_HOOK_RECORD, MAX_INTENT, MAX_SNAPSHOT};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(here(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, by its path in the repository.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"].map(String::from).into();
    for entry in fs::read_dir(here("docs")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        pages.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    pages.sort();
    pages
}

/// What stands between backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The text of a section, down to the next heading of its level or above.
fn section(page: &str, heading: &str) -> String {
    let text = read(page);
    let level = heading.split(' ').next().unwrap().to_owned();
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{page} has no {heading:?}"));
    let ends = |line: &str| {
        let hashes = line.split(' ').next().unwrap_or_default();
        hashes.starts_with('#') && hashes.chars().all(|c| c == '#') && hashes.len() <= level.len()
    };
    rest.lines().take_while(|line| !ends(line)).collect::<Vec<_>>().join("\n")
}

/// The first cells of the rows of the tables in there, without their heads.
fn first_cells(text: &str) -> Vec<&str> {
    let (mut cells, mut head) = (Vec::new(), true);
    for line in text.lines() {
        let Some(row) = line.strip_prefix('|') else {
            head = true;
            continue;
        };
        if row.starts_with("---") {
            head = false;
        } else if !head {
            cells.push(row.split('|').next().unwrap().trim());
        }
    }
    cells
}

/// Pairs of a page and where it is linked to, `#…` included, without addresses of the outside.
fn links(page: &str) -> Vec<String> {
    let text = read(page);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    links.filter(|link| !link.contains("://") && !link.contains(' ')).map(str::to_owned).collect()
}

/// As a page's headings are linked to.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    headings.map(|text| text.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn every_page_is_in_the_index_once_and_the_index_in_the_readme() {
    let index: Vec<PathBuf> =
        links("docs/index.md").iter().map(|link| fs::canonicalize(here("docs").join(link)).unwrap()).collect();
    for page in pages().iter().filter(|page| *page != "docs/index.md") {
        let path = fs::canonicalize(here(page)).unwrap();
        assert_eq!(index.iter().filter(|linked| **linked == path).count(), 1, "{page} in docs/index.md");
    }
    assert!(links("README.md").contains(&"docs/index.md".to_owned()));
}

#[test]
fn every_link_of_every_page_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in links(&page) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let from = here(&page);
            let target = if file.is_empty() { from } else { from.parent().unwrap().join(file) };
            if !target.exists() || !(anchor.is_empty() || anchors(&target).contains(&anchor.to_owned())) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_file_that_a_page_names_by_its_path_is_there() {
    let mut missing = Vec::new();
    for page in pages().iter().filter(|page| *page != "CHANGELOG.md") {
        let text = read(page);
        for word in quoted(&text).filter_map(|words| words.split(' ').next()) {
            let ours = ["src/", "tests/", "docs/", "fuzz/", "bench/", "state-schema/", ".ci/"];
            let a_pattern = word.contains(['<', '*', '…']) || word.ends_with("/vN");
            if ours.iter().any(|folder| word.starts_with(folder)) && !a_pattern && !here(word).exists() {
                missing.push(format!("{page}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn the_layers_are_the_same_in_the_design_in_the_code_and_in_its_documentation() {
    let library = read("src/lib.rs");
    let declared: BTreeSet<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let of = |cell: &str| quoted(cell).map(str::to_owned).collect::<Vec<_>>();
    let design = section("docs/design.md", "## Layers");
    let design: Vec<String> = first_cells(&design).into_iter().flat_map(of).collect();
    let rows = library.lines().filter_map(|line| line.strip_prefix("//! | ["));
    let told: Vec<String> = rows.flat_map(|row| of(row.split('|').next().unwrap())).collect();
    assert_eq!(design, told, "docs/design.md and src/lib.rs, in their order");
    assert_eq!(design.iter().map(String::as_str).collect::<BTreeSet<_>>(), declared);
}

#[test]
fn the_methods_and_error_codes_of_the_protocol_are_those_of_the_code() {
    let methods = section("docs/control-protocol.md", "## Methods");
    let told: Vec<&str> = first_cells(&methods).into_iter().flat_map(quoted).collect();
    assert_eq!(told, METHODS.iter().map(|(_, name)| *name).collect::<Vec<_>>());
    for (at, (method, name)) in METHODS.iter().enumerate() {
        let row = methods.lines().filter(|line| line.starts_with("| `")).nth(at).unwrap();
        let beside = row.split('|').nth(3).unwrap().trim();
        assert_eq!(beside == "–", method.descriptors() == 0, "descriptors of {name}");
    }
    let (_, codes) = methods.split_once("Error codes: ").unwrap();
    let (codes, _) = codes.split_once("\n\n").unwrap_or((codes, ""));
    for code in quoted(codes) {
        let known: ErrorCode = serde_json::from_value(code.into()).unwrap();
        assert!(code == "other" || known != ErrorCode::Other, "{code} is no error code");
    }
}

#[test]
fn the_largest_records_are_as_large_as_the_page_says() {
    let formats = section("docs/on-disk.md", "## Formats");
    for (file, bytes) in [
        ("`sandbox.json`", MAX_SNAPSHOT),
        ("intent", MAX_INTENT),
        ("`exits`", MAX_PAYLOAD),
        ("`hooks`", MAX_HOOK_RECORD),
        ("`pending`", MAX_SNAPSHOT),
    ] {
        let row = formats.lines().find(|line| line.starts_with(&format!("| {file}"))).unwrap();
        let cap = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
        let told = if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) };
        assert!(cap.starts_with(&told), "{file}: {told} and not {cap:?}");
    }
}

#[test]
fn every_command_has_its_row_beside_runc_and_crun() {
    let binary = std::env::var("SANDKEEP_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_sandkeep").to_owned());
    let help = String::from_utf8(Command::new(binary).arg("--help").output().unwrap().stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").expect("a list of commands");
    let (commands, _) = commands.split_once("\n\n").expect("and what comes after it");
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 15, "{names:?}");
    let rows = section("docs/compatibility.md", "## Commands");
    let told: BTreeSet<&str> = first_cells(&rows).into_iter().flat_map(|cell| cell.split(", ")).collect();
    for name in names {
        assert!(told.contains(name), "docs/compatibility.md does not say what `{name}` is beside runc and crun");
    }
}

#[test]
fn the_way_of_a_run_enters_each_file_once() {
    let way = section("docs/design.md", "## The way of `sandkeep run`");
    let files: Vec<&str> = quoted(&way).filter(|word| word.starts_with("src/")).collect();
    assert!(files.len() > 40, "{files:?}");
    let mut seen = BTreeSet::new();
    for file in files {
        assert!(here(file).is_file(), "{file} is not there");
        assert!(seen.insert(file), "{file} is entered twice");
    }
}

#[test]
fn every_test_that_a_recipe_names_exists() {
    let tests: String = ["src", "tests"].map(|folder| code_below(&here(folder))).concat();
    let text = read("docs/adding.md");
    let named: Vec<&str> =
        quoted(&text).filter(|word| word.matches('_').count() >= 3 && !word.contains(['/', ':'])).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        assert!(tests.contains(&format!("fn {name}(")), "docs/adding.md names {name}, and there is no such test");
    }
}

fn code_below(folder: &Path) -> String {
    let mut code = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code += &code_below(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            code += &fs::read_to_string(&path).unwrap();
        }
    }
    code
}

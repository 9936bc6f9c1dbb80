//! A promise is kept where a test is: the pages that promise must name tests that exist.

use std::path::Path;

use sandkeep::container::forgiven::{self, Forgiven};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    let path = Path::new(HERE).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_and_source_file_that_the_security_page_names_is_there() {
    let text = read("docs/security.md");
    let named: Vec<&str> = quoted(&text).filter(|word| word.ends_with(".rs")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let path = if name.contains('/') { name.to_owned() } else { format!("tests/{name}") };
        assert!(Path::new(HERE).join(&path).is_file(), "{path} is named and not there");
    }
}

#[test]
fn every_wall_names_what_holds_it() {
    let text = read("docs/security.md");
    let (_, walls) = text.split_once("## The walls").unwrap();
    let (walls, _) = walls.split_once("\n## ").unwrap();
    let rows: Vec<&str> = walls.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let held = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(quoted(held).any(|word| word.ends_with(".rs")), "no test: {row}");
    }
}

#[test]
fn the_list_of_what_is_passed_over_is_the_one_in_the_code() {
    let row = |Forgiven { step, errno, because, test }: &Forgiven| {
        let name = format!("{:?}", nix::Error::from_raw(*errno));
        format!("| {step} | {name} | {because} | `{}` |", test.replace(": ", "` `"))
    };
    let rows: Vec<String> = forgiven::ALL.iter().map(row).collect();
    let page = read("docs/forgiven.md");
    let printed: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(printed, rows, "docs/forgiven.md should have these rows:\n{}", rows.join("\n"));
}

#[test]
fn whatever_is_passed_over_has_its_test() {
    for Forgiven { step, test, .. } in forgiven::ALL {
        let (file, name) = test.split_once(": ").unwrap();
        assert!(read(file).contains(&format!("fn {name}()")), "{step}: {test}");
    }
}

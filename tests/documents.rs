//! A promise is kept where a test is: the pages that promise must name tests that exist.

use std::path::Path;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_and_source_file_that_the_security_page_names_is_there() {
    let text = std::fs::read_to_string(Path::new(HERE).join("docs/security.md")).unwrap();
    let named: Vec<&str> = quoted(&text).filter(|word| word.ends_with(".rs")).collect();
    assert!(named.len() > 10, "{named:?}");
    for name in named {
        let path = if name.contains('/') { name.to_owned() } else { format!("tests/{name}") };
        assert!(Path::new(HERE).join(&path).is_file(), "{path} is named and not there");
    }
}

#[test]
fn every_wall_names_what_holds_it() {
    let text = std::fs::read_to_string(Path::new(HERE).join("docs/security.md")).unwrap();
    let (_, walls) = text.split_once("## The walls").unwrap();
    let (walls, _) = walls.split_once("\n## ").unwrap();
    let rows: Vec<&str> = walls.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10, "{rows:?}");
    for row in rows {
        let held = row.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(quoted(held).any(|word| word.ends_with(".rs")), "no test: {row}");
    }
}

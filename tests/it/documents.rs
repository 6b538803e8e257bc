//! The README tells the truth about the settings. `FRONTDESK_BLESS=1` writes the table anew.

use frontdesk::config::effective::markdown_table;

const BEGIN: &str = "<!-- settings -->";
const END: &str = "<!-- /settings -->";

#[test]
fn the_readme_lists_every_setting_as_it_is() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the table's beginning is marked");
    let (table, after) = rest.split_once(END).expect("the table's end is marked");
    let expected = format!("\n{}\n", markdown_table().trim());
    if std::env::var_os("FRONTDESK_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert!(table == expected, "README.md is behind the settings: run the tests once with FRONTDESK_BLESS=1");
}

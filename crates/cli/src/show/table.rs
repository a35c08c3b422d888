//! Tables and field lists without borders. Pure.

use comfy_table::{ContentArrangement, Table, presets};

use super::human::printable;

/// Writes rows under a header, columns two blanks apart, no trailing blanks.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = bare();
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| one_line(cell)).collect::<Vec<_>>());
    }
    finish(table)
}

/// Writes names and values, one pair a line; a value's further lines stay in its column.
pub fn fields(pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = bare();
    for (name, value) in pairs {
        table.add_row(vec![name.to_owned(), printable(&value)]);
    }
    finish(table)
}

fn bare() -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

fn one_line(cell: &str) -> String {
    printable(cell).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_stays_on_its_line() {
        let text = table(
            &["A", "B"],
            [vec!["x\ny".to_owned(), "\u{1b}[1m".to_owned()]],
        );
        assert_eq!(text, "A    B\nx y  \\u{1b}[1m\n");
    }

    #[test]
    fn fields_keep_their_column() {
        let pairs = [("name", "data".to_owned()), ("problem", "a\nb".to_owned())];
        assert_eq!(fields(pairs), "name     data\nproblem  a\n         b\n");
    }
}

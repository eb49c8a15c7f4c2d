//! Tables for people: capital headers, two spaces between columns, numbers to the right, no boxes. Pure.

use unicode_width::UnicodeWidthStr;

/// Which side the cells of a column keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// A column: its header and side.
pub(super) type Column = (&'static str, Side);

/// Returns the table; the widths fit the rows given. `with_header` is for the first page of several.
pub(super) fn render(columns: &[Column], rows: &[Vec<String>], with_header: bool) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(column, (header, _))| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width());
            cells.max().unwrap_or(0).max(header.width())
        })
        .collect();
    let mut text = String::new();
    if with_header {
        let headers: Vec<String> = columns.iter().map(|(header, _)| (*header).to_owned()).collect();
        line(&mut text, columns, &widths, &headers);
    }
    for row in &rows {
        line(&mut text, columns, &widths, row);
    }
    text
}

/// Returns names and values, one pair a line.
pub(super) fn facts(pairs: &[(&str, String)]) -> String {
    let rows: Vec<Vec<String>> =
        pairs.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    render(&[("", Side::Left), ("", Side::Left)], &rows, false)
}

fn line(text: &mut String, columns: &[Column], widths: &[usize], cells: &[String]) {
    let mut line = String::new();
    for (index, cell) in cells.iter().enumerate().take(columns.len()) {
        if index > 0 {
            line.push_str("  ");
        }
        let padding = " ".repeat(widths[index].saturating_sub(cell.width()));
        match columns[index].1 {
            Side::Left => line.extend([cell.as_str(), &padding]),
            Side::Right => line.extend([padding.as_str(), cell]),
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Writes control characters out, so that data of others can neither move the cursor nor break a row.
pub(super) fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut cell, letter| {
        if letter.is_control() {
            cell.extend(letter.escape_default());
        } else {
            cell.push(letter);
        }
        cell
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn columns_line_up_by_what_the_eye_sees() {
        let columns = [("NAME", Side::Left), ("COUNT", Side::Right), ("NOTE", Side::Left)];
        let rows = [
            vec!["工作流".to_owned(), "7".to_owned(), String::new()],
            vec!["a".to_owned(), "123456".to_owned(), "x\u{1b}[2J\ny".to_owned()],
        ];
        expect![[r"
            NAME     COUNT  NOTE
            工作流       7
            a       123456  x\u{1b}[2J\ny
        "]]
        .assert_eq(&render(&columns, &rows, true));
    }
}

//! The only place that writes to standard output and standard error.
//!
//! Results go to standard output, as a table for people or as JSON for programs; everything else (progress, notes,
//! errors) goes to standard error. A reader that closes its end early is no failure ([`Failure::OutputClosed`]).
//! Everything shown in a table is made safe here, so that no caller can forget it.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use proffer_model::Problem;
use serde::Serialize;
use serde_json::json;

use crate::escape;
use crate::exit::{Failure, Outcome};
use crate::limits::CELL_WIDTH_MIN;

/// How results are written: a table for people, or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
// No comments for documentation on these: clap would make a list of them in every help.
pub(crate) enum Format {
    #[default]
    Table,
    Json,
}

/// The flag that every verb has.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// How the result is written: table, for people, or json, with keys in snake_case that name their unit.
    #[arg(
        short,
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub(crate) output: Format,
}

/// A column of a table.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// Text, to the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
    /// A long name, of which a narrow terminal shows the beginning and the end.
    Id(&'static str),
    /// Words, of which a narrow terminal shows the beginning; no column when nobody has any.
    Message(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) | Self::Id(name) | Self::Message(name) => name,
        }
    }
}

/// Rows for people. Cells may hold what others wrote.
pub(crate) struct Rows {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    when_empty: &'static str,
}

impl Rows {
    /// No rows yet.
    pub(crate) fn new(columns: &[Column]) -> Self {
        Self {
            columns: columns.to_vec(),
            rows: Vec::new(),
            when_empty: "",
        }
    }

    /// What is said on standard error when there are no rows.
    pub(crate) fn when_empty(mut self, note: &'static str) -> Self {
        self.when_empty = note;
        self
    }

    /// The same where rows were asked for by what they are: to say that there are none would deny those that do not match.
    pub(crate) fn when_none_matches(self, is_filtered: bool, note: &'static str) -> Self {
        match is_filtered {
            true => self.when_empty(note),
            false => self,
        }
    }

    /// One more; as many cells as there are columns. Cells are made safe here.
    pub(crate) fn push(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| escape::line(&cell)).collect());
    }

    /// The table without borders; every line ends without spaces. With a width, long names and words are shortened as
    /// far as they must be for lines to fit, but never below [`CELL_WIDTH_MIN`].
    pub(crate) fn render(mut self, width: Option<usize>) -> String {
        self.leave_out_empty_messages();
        if let Some(width) = width {
            self.shorten(width);
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(self.columns.iter().map(|column| column.name()));
        for row in &self.rows {
            table.add_row(row);
        }
        for (column, kind) in table.column_iter_mut().zip(&self.columns) {
            column.set_padding((0, 2));
            if matches!(kind, Column::Number(_)) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt()
    }

    fn leave_out_empty_messages(&mut self) {
        let Some(place) = self
            .columns
            .iter()
            .position(|column| matches!(column, Column::Message(_)))
        else {
            return;
        };
        if self
            .rows
            .iter()
            .all(|row| row.get(place).is_none_or(String::is_empty))
        {
            self.columns.remove(place);
            for row in self.rows.iter_mut().filter(|row| row.len() > place) {
                row.remove(place);
            }
        }
    }

    fn shorten(&mut self, width: usize) {
        let width_of = |rows: &[Vec<String>], place: usize, column: &Column| {
            let cells = rows.iter().filter_map(|row| row.get(place));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(column.name().chars().count())
        };
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(place, column)| width_of(&self.rows, place, column))
            .collect();
        let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
        let mut surplus = total.saturating_sub(width);
        let is_message = |column: &Column| matches!(column, Column::Message(_));
        let is_id = |column: &Column| matches!(column, Column::Id(_));
        for is_wanted in [&is_message as &dyn Fn(&Column) -> bool, &is_id] {
            for (place, (column, natural)) in self.columns.iter().zip(&widths).enumerate() {
                if surplus == 0 || !is_wanted(column) || *natural <= CELL_WIDTH_MIN {
                    continue;
                }
                let narrow = natural.saturating_sub(surplus).max(CELL_WIDTH_MIN);
                surplus -= natural - narrow;
                for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(place)) {
                    *cell = match is_id(column) {
                        true => without_middle(cell, narrow),
                        false => without_end(cell, narrow),
                    };
                }
            }
        }
    }
}

/// At most `width` characters: the beginning, `…`, and rather more of the end, where ids differ.
fn without_middle(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let begin = (width - 1) / 3;
    let end = width - 1 - begin;
    let chars = text.chars();
    chars
        .clone()
        .take(begin)
        .chain(['…'])
        .chain(chars.skip(count - end))
        .collect()
}

/// At most `width` characters: the beginning, and `…`.
fn without_end(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

impl Format {
    /// Writes a result: `value` for programs, or the rows for people.
    pub(crate) fn show(self, value: &impl Serialize, rows: impl FnOnce() -> Rows) -> Outcome {
        match self {
            Self::Json => print_json(value),
            Self::Table => {
                let rows = rows();
                if rows.rows.is_empty() && !rows.when_empty.is_empty() {
                    write_progress(&format!("{}\n", rows.when_empty));
                    return Ok(());
                }
                print(&(rows.render(terminal_width()) + "\n"))
            }
        }
    }

    /// Writes a result: `value` for programs, or a text of one or more lines for people.
    pub(crate) fn show_text(
        self,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Outcome {
        match self {
            Self::Json => print_json(value),
            Self::Table => print(&(text() + "\n")),
        }
    }

    /// Says on standard error what went wrong; nothing when nobody is left to be told.
    pub(crate) fn report(self, failure: &Failure) {
        let text = match (failure, self) {
            (Failure::OutputClosed, _) => return,
            (Failure::Interrupted(""), Self::Table) => "interrupted\n".to_owned(),
            (Failure::Interrupted(hint), Self::Table) => format!("interrupted\nhint: {hint}\n"),
            (Failure::Interrupted(hint), Self::Json) => {
                json!({ "code": "interrupted", "field": "", "message": "interrupted", "hint": hint })
                    .to_string()
                    + "\n"
            }
            (Failure::Problem(problem), Self::Table) => render_problem(problem),
            (Failure::Problem(problem), Self::Json) => problem_json(problem).to_string() + "\n",
        };
        // Nobody can be told that standard error is closed.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

fn print_json(value: &impl Serialize) -> Outcome {
    match serde_json::to_string_pretty(value) {
        Ok(text) => print(&(text + "\n")),
        Err(error) => Err(output_failed(&io::Error::other(error))),
    }
}

/// Writes to standard output as it is: the caller vouches for it.
pub(crate) fn print(text: &str) -> Outcome {
    print_bytes(text.as_bytes())
}

/// The same for bytes, such as a task's output that goes into a file or a pipe.
pub(crate) fn print_bytes(bytes: &[u8]) -> Outcome {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(output_failed(&error)),
    }
}

/// The same to standard error.
pub(crate) fn print_error_bytes(bytes: &[u8]) -> Outcome {
    match io::stderr().lock().write_all(bytes) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(output_failed(&error)),
    }
}

/// The columns of the terminal that standard output is; absent when it is none, and nothing need be left out.
pub(crate) fn terminal_width() -> Option<usize> {
    stdout_is_terminal().then(|| columns(&Table::new()))
}

/// `$COLUMNS`, else what the terminal says, else 80.
fn columns(table: &Table) -> usize {
    let said = std::env::var("COLUMNS").ok();
    said.and_then(|columns| columns.parse().ok())
        .or_else(|| table.width().map(usize::from))
        .unwrap_or(80)
        .max(20)
}

/// Asks a person at a terminal; without one nobody has said yes.
pub(crate) async fn confirm(question: &str) -> Outcome<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(false);
    }
    write_progress(&format!("{} [y/N] ", escape::line(question)));
    // Away from here, so that Ctrl-C is heard.
    let reading = tokio::task::spawn_blocking(|| {
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).map(|_| answer)
    });
    let answer = reading.await.map_err(io::Error::other);
    let answer = answer.flatten().map_err(|error| {
        let message = format!("the answer cannot be read: {error}");
        Problem::new(proffer_model::code::FILE_FAILED, message)
    })?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Whether a person sees standard output directly.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

fn output_failed(error: &io::Error) -> Failure {
    let message = format!("standard output cannot be written: {error}");
    Problem::new(proffer_model::code::FILE_FAILED, message).into()
}

/// `error: code: field: message`, and `hint: …` where there is one. Further lines of a message are indented, so that
/// none can pass for one of ours; a field that the message names with its place is not named twice.
fn render_problem(problem: &Problem) -> String {
    let mut text = format!("error: {}: ", escape::line(&problem.code));
    let field = escape::line(&problem.field);
    if !field.is_empty() && !problem.message.contains(&format!(": {field}: ")) {
        text += &format!("{field}: ");
    }
    let lines: Vec<String> = problem.message.lines().map(escape::line).collect();
    text += &format!("{}\n", lines.join("\n       "));
    if !problem.hint.is_empty() {
        text += &format!("hint: {}\n", escape::line(&problem.hint));
    }
    text
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    json!({
        "code": problem.code,
        "field": problem.field,
        "message": problem.message,
        "hint": problem.hint,
    })
}

/// Says on standard error what is wrong with the command line, in clap's own form and colours.
pub(crate) fn print_usage(error: &clap::Error) {
    // Nobody can be told that standard error is closed.
    let _ = error.print();
}

/// What a command says while it works: one line that changes on a terminal, plain lines otherwise.
pub(crate) struct Progress {
    is_terminal: bool,
    /// The changing line as it stands, empty when there is none.
    shown: String,
}

impl Progress {
    /// Writes to standard error.
    pub(crate) fn new() -> Self {
        Self {
            is_terminal: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    /// Replaces the changing line; elsewhere than on a terminal writes it once, when it differs from the last.
    pub(crate) fn update(&mut self, text: &str) {
        let text = escape::line(text);
        if text == self.shown {
            return;
        }
        if self.is_terminal {
            write_progress(&format!("\r\x1b[K{}", fit(&text)));
        } else {
            write_progress(&format!("{text}\n"));
        }
        self.shown = text;
    }

    /// Writes a line that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.clear();
        write_progress(&format!("{}\n", escape::line(text)));
    }

    /// Takes the changing line away.
    pub(crate) fn clear(&mut self) {
        if self.is_terminal && !self.shown.is_empty() {
            write_progress("\r\x1b[K");
        }
        self.shown.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Cut so that it stays on one line of the terminal; a longer one could not be taken back.
fn fit(text: &str) -> String {
    without_end(text, columns(Table::new().use_stderr()) - 1)
}

fn write_progress(text: &str) {
    // Progress that nobody can see is no failure.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proffer_model::code;

    #[test]
    fn tables_have_no_borders_and_no_escapes() {
        let mut rows = Rows::new(&[Column::Text("APP"), Column::Number("INSTANCES")]);
        rows.push(["/web".to_owned(), "3".to_owned()]);
        rows.push(["/\u{1b}[2Jevil".to_owned(), "12".to_owned()]);
        let expected = "\
APP       INSTANCES
/web              3
/[2Jevil         12";
        assert_eq!(rows.render(None), expected);
    }

    #[test]
    fn what_is_long_is_shortened_to_the_width_of_the_terminal() {
        let rows = |message: &str| {
            let mut rows = Rows::new(&[
                Column::Id("TASK"),
                Column::Number("N"),
                Column::Message("MESSAGE"),
            ]);
            rows.push([
                "web.instance-0123456789abcdef._app.1".to_owned(),
                "7".to_owned(),
                message.to_owned(),
            ]);
            rows
        };
        let words = "something went very wrong, and this is why";
        for width in [80, 60, 55] {
            let text = rows(words).render(Some(width));
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{text}"
            );
        }
        let text = rows(words).render(Some(60));
        assert!(
            text.contains("_app.1") && text.contains("something") && text.contains('…'),
            "{text}"
        );
        assert!(rows(words).render(None).contains(words));
        assert!(!rows("").render(None).contains("MESSAGE"));
        assert_eq!(without_middle("abcdefghij", 7), "ab…ghij");
    }

    #[test]
    fn problems_are_one_line_and_a_hint() {
        let problem = Problem::new(code::APP_INVALID, "must not\x1b[2J be\nnegative")
            .field("cpus")
            .hint("write 0.1 or more");
        assert_eq!(
            render_problem(&problem),
            "error: app.invalid: cpus: must not[2J be\n       negative\nhint: write 0.1 or more\n"
        );
        let placed =
            Problem::new(code::CONFIG_INVALID, "a.toml:2: listen: is wrong").field("listen");
        assert_eq!(
            render_problem(&placed),
            "error: config.invalid: a.toml:2: listen: is wrong\nhint: mend the file or the flag; --check-config looks at it without starting\n"
        );
        // Without a hint of its own, its code has one.
        let bare = Problem::new(code::APP_UNKNOWN, "there is no app /web");
        assert_eq!(
            render_problem(&bare),
            "error: app.unknown: there is no app /web\nhint: list the apps\n"
        );
        assert_eq!(
            problem_json(&bare).to_string(),
            r#"{"code":"app.unknown","field":"","hint":"list the apps","message":"there is no app /web"}"#
        );
    }
}

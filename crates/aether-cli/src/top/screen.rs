//! What `aether top` shows on a terminal, and what its keys do.

use std::cmp::Ordering;

use indicatif::HumanBytes;
use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Paragraph, Row as TableRow, Table, TableState},
};

use super::Row;
use crate::info::holder;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    GoOn,
    End,
}

const COLUMNS: [&str; 8] = ["RING", "IN/s", "OUT/s", "LAG", "FILL", "OLDEST", "PROD", "SLOWEST"];
const WIDTHS: [Constraint; 8] = [
    Constraint::Fill(2),
    Constraint::Length(11),
    Constraint::Length(11),
    Constraint::Length(11),
    Constraint::Length(5),
    Constraint::Length(10),
    Constraint::Length(7),
    Constraint::Fill(1),
];
const KEYS: &str = " q end   ↑ ↓ PgUp PgDn Home End select   ← → sort by   r turn round ";

#[derive(Default)]
pub(super) struct Screen {
    rows: Vec<Row>,
    /// The column that the rows are sorted by.
    column: usize,
    descending: bool,
    state: TableState,
    /// Rows that fit at the last drawing.
    height: usize,
}

impl Screen {
    /// What was selected stays so, wherever it is now.
    pub(super) fn set_rows(&mut self, rows: Vec<Row>) {
        let selected = self.selected().map(|row| row.path.clone());
        self.rows = rows;
        self.sort();
        let place = selected.and_then(|path| self.rows.iter().position(|row| row.path == path));
        let last = self.rows.len().checked_sub(1);
        self.state.select(last.map(|last| place.unwrap_or(self.state.selected().unwrap_or(0).min(last))));
    }

    fn selected(&self) -> Option<&Row> {
        self.rows.get(self.state.selected()?)
    }

    fn sort(&mut self) {
        let (column, descending) = (self.column, self.descending);
        self.rows.sort_by(|a, b| {
            let order = compare(a, b, column);
            // Equal ones stay in the order of their names, and so do not jump.
            if descending { order.reverse() } else { order }.then_with(|| a.path.cmp(&b.path))
        });
    }

    pub(super) fn key(&mut self, key: KeyEvent) -> What {
        let page = self.height.max(1);
        let at = self.state.selected().unwrap_or(0);
        let last = self.rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return What::End,
            // The terminal sends it as a key, not as a signal.
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return What::End,
            KeyCode::Down | KeyCode::Char('j') => self.state.select(Some((at + 1).min(last))),
            KeyCode::Up | KeyCode::Char('k') => self.state.select(Some(at.saturating_sub(1))),
            KeyCode::PageDown => self.state.select(Some((at + page).min(last))),
            KeyCode::PageUp => self.state.select(Some(at.saturating_sub(page))),
            KeyCode::Home => self.state.select(Some(0)),
            KeyCode::End => self.state.select(Some(last)),
            KeyCode::Right => self.sort_by((self.column + 1) % COLUMNS.len()),
            KeyCode::Left => self.sort_by((self.column + COLUMNS.len() - 1) % COLUMNS.len()),
            KeyCode::Char('r') => {
                self.descending = !self.descending;
                self.set_rows(self.rows.clone());
            }
            _ => {}
        }
        What::GoOn
    }

    /// Names from the first on, numbers from the greatest.
    fn sort_by(&mut self, column: usize) {
        self.column = column;
        self.descending = !matches!(column, 0 | 7);
        self.set_rows(self.rows.clone());
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let details = self.selected().map(details).unwrap_or_default();
        // The list of who is there gives way to the list of rings.
        let most = frame.area().height / 3;
        let height = (details.len() as u16 + 2).min(most.max(3));
        let [table, below, keys] =
            Layout::vertical([Constraint::Min(2), Constraint::Length(height), Constraint::Length(1)])
                .areas(frame.area());
        self.height = usize::from(table.height.saturating_sub(1));

        let arrow = if self.descending { "▼" } else { "▲" };
        let titles = COLUMNS.iter().enumerate().map(|(column, title)| {
            Cell::from(if column == self.column { format!("{title}{arrow}") } else { (*title).to_owned() })
        });
        let rows = self.rows.iter().map(row);
        let chosen = Style::default().add_modifier(Modifier::REVERSED);
        let widget = Table::new(rows, WIDTHS)
            .header(TableRow::new(titles).style(Style::default().add_modifier(Modifier::BOLD)))
            .row_highlight_style(chosen);
        frame.render_stateful_widget(widget, table, &mut self.state);

        let title = self.selected().map_or("no rings".to_owned(), |row| row.path.clone());
        frame.render_widget(Paragraph::new(details).block(Block::bordered().title(title)), below);
        frame.render_widget(Paragraph::new(KEYS).style(chosen), keys);
    }
}

fn compare(a: &Row, b: &Row, column: usize) -> Ordering {
    match column {
        1 => a.bytes_in_per_second.total_cmp(&b.bytes_in_per_second),
        2 => a.bytes_out_per_second.total_cmp(&b.bytes_out_per_second),
        3 => a.lag.cmp(&b.lag),
        4 => a.fill.total_cmp(&b.fill),
        5 => a.oldest_age_seconds.unwrap_or(-1.0).total_cmp(&b.oldest_age_seconds.unwrap_or(-1.0)),
        6 => a.present().cmp(&b.present()),
        7 => a.slowest_in_words().cmp(&b.slowest_in_words()),
        _ => a.path.cmp(&b.path),
    }
}

fn row(row: &Row) -> TableRow<'_> {
    if let Some(error) = &row.error {
        let style = Style::default().add_modifier(Modifier::DIM);
        let cells = [row.path.clone(), "?".to_owned(), "?".to_owned(), "?".to_owned(), "?".to_owned(), "?".to_owned()];
        return TableRow::new(cells.into_iter().chain(["?".to_owned(), error.clone()])).style(style);
    }
    let rate = |value: f64| HumanBytes(value as u64).to_string();
    let cells = [
        row.path.clone(),
        rate(row.bytes_in_per_second),
        rate(row.bytes_out_per_second),
        HumanBytes(row.lag).to_string(),
        format!("{:.0}%", 100.0 * row.fill),
        row.age(),
        format!("{}/{}", row.present(), row.producers.len()),
        row.slowest_in_words(),
    ];
    let style = if row.fill >= 0.9 { Style::default().add_modifier(Modifier::BOLD) } else { Style::default() };
    TableRow::new(cells).style(style)
}

/// Who holds which role, the slowest first.
fn details(row: &Row) -> Vec<Line<'static>> {
    if let Some(error) = &row.error {
        return vec![Line::from(error.clone())];
    }
    let mut consumers: Vec<_> = row.consumers.iter().collect();
    consumers.sort_by_key(|consumer| (std::cmp::Reverse(consumer.lag), consumer.slot));
    let consumers = consumers.into_iter().map(|consumer| {
        let lag = HumanBytes(consumer.lag);
        Line::from(format!("slot {}: {}, {lag} behind", consumer.slot, consumer.in_words()))
    });
    let lanes = row.producers.iter().enumerate();
    let producers = lanes.map(|(lane, pid)| Line::from(format!("lane {lane}: produced by {}", holder(*pid))));
    consumers.chain(producers).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::top::Consumer;

    fn ring(path: &str, rate: f64, lag: u64) -> Row {
        let consumer = |slot, name: Option<&str>, lag| Consumer { slot, name: name.map(str::to_owned), pid: None, lag };
        Row {
            path: path.to_owned(),
            error: None,
            bytes_in_per_second: rate,
            bytes_out_per_second: rate / 2.0,
            lag,
            fill: lag as f64 / 1024.0,
            oldest_age_seconds: (lag > 0).then_some(lag as f64 / 10.0),
            producers: vec![Some(42), None],
            consumers: vec![consumer(0, None, 0), consumer(3, Some("audit"), lag)],
            slowest: Some(3),
        }
    }

    fn rings() -> Vec<Row> {
        let broken = Row { path: "c".to_owned(), error: Some("cut short".to_owned()), ..Row::default() };
        vec![ring("a", 1024.0, 512), ring("b", 3072.0, 0), broken, ring("d", 2048.0, 1024)]
    }

    fn press(screen: &mut Screen, code: KeyCode) -> What {
        screen.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn drawn(screen: &mut Screen, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines = buffer.content().chunks(width.into());
        lines.map(|line| line.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned()).collect()
    }

    #[test]
    fn a_ring_is_a_row_and_the_one_that_is_selected_says_who_is_there() {
        let mut screen = Screen::default();
        screen.set_rows(rings());
        assert_eq!(
            drawn(&mut screen, 110, 18),
            [
                "RING▲                            IN/s        OUT/s       LAG         FILL  OLDEST     PROD    SLOWEST",
                "a                                1.00 KiB    512 B       512 B       50%   >=51.2s    1/2     \"audit\" (nobody)",
                "b                                3.00 KiB    1.50 KiB    0 B         0%    -          1/2     \"audit\" (nobody)",
                "c                                ?           ?           ?           ?     ?          ?       cut short",
                "d                                2.00 KiB    1.00 KiB    1.00 KiB    100%  >=102.4s   1/2     \"audit\" (nobody)",
                "",
                "",
                "",
                "",
                "",
                "",
                &format!("┌a{}┐", "─".repeat(107)),
                &format!("│{:<108}│", "slot 3: \"audit\" (nobody), 512 B behind"),
                &format!("│{:<108}│", "slot 0: consumer 0 (nobody), 0 B behind"),
                &format!("│{:<108}│", "lane 0: produced by process 42"),
                &format!("│{:<108}│", "lane 1: produced by nobody"),
                &format!("└{}┘", "─".repeat(108)),
                " q end   ↑ ↓ PgUp PgDn Home End select   ← → sort by   r turn round",
            ]
        );
    }

    #[test]
    fn keys_sort_by_any_column_and_turn_the_order_round() {
        let mut screen = Screen::default();
        screen.set_rows(rings());
        let order = |screen: &Screen| screen.rows.iter().map(|row| row.path.clone()).collect::<String>();
        assert_eq!(order(&screen), "abcd");
        press(&mut screen, KeyCode::Char('r'));
        assert_eq!(order(&screen), "dcba");
        // Numbers begin with the greatest; where they are equal, names decide.
        for expected in ["bdac", "bdac", "dabc", "dabc", "dabc", "abdc", "abdc", "abcd"] {
            press(&mut screen, KeyCode::Right);
            assert_eq!(order(&screen), expected, "by {}", COLUMNS[screen.column]);
        }
        press(&mut screen, KeyCode::Left);
        assert_eq!((order(&screen).as_str(), COLUMNS[screen.column]), ("abdc", "SLOWEST"));
    }

    #[test]
    fn the_selection_moves_by_keys_and_stays_with_its_ring() {
        let mut screen = Screen::default();
        screen.set_rows((0..100).map(|n| ring(&format!("{n:02}"), n.into(), 0)).collect());
        let selected = |screen: &Screen| screen.selected().unwrap().path.clone();
        drawn(&mut screen, 80, 24);
        let page = screen.height;
        assert!((8..22).contains(&page), "{page}");
        for (code, expected) in [
            (KeyCode::Up, 0),
            (KeyCode::Down, 1),
            (KeyCode::PageDown, 1 + page),
            (KeyCode::PageUp, 1),
            (KeyCode::End, 99),
            (KeyCode::Down, 99),
            (KeyCode::PageUp, 99 - page),
        ] {
            press(&mut screen, code);
            assert_eq!(selected(&screen), format!("{expected:02}"), "after {code:?}");
            let lines = drawn(&mut screen, 80, 24);
            assert!(lines.iter().any(|line| line.starts_with(&format!("{expected:02} "))), "{lines:#?}");
        }
        press(&mut screen, KeyCode::Home);
        press(&mut screen, KeyCode::Right);
        assert_eq!(selected(&screen), "00", "which is now the last");
        screen.set_rows(vec![ring("50", 0.0, 0)]);
        assert_eq!(selected(&screen), "50", "the other is gone");
        screen.set_rows(Vec::new());
        assert!(screen.selected().is_none());
        press(&mut screen, KeyCode::Down);
        assert!(drawn(&mut screen, 80, 24).iter().any(|line| line.contains("no rings")));
    }

    #[test]
    fn q_escape_and_control_c_end_it_and_other_keys_do_not() {
        let mut screen = Screen::default();
        assert_eq!(press(&mut screen, KeyCode::Char('q')), What::End);
        assert_eq!(press(&mut screen, KeyCode::Esc), What::End);
        assert_eq!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), What::End);
        assert_eq!(press(&mut screen, KeyCode::Char('c')), What::GoOn);
        assert_eq!(press(&mut screen, KeyCode::Enter), What::GoOn);
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        let mut screen = Screen::default();
        screen.set_rows(rings());
        for (width, height) in [(1, 1), (3, 2), (10, 3), (200, 1), (1, 100), (20, 5)] {
            drawn(&mut screen, width, height);
        }
    }
}

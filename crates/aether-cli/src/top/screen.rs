//! What `aether top` shows on a terminal, and what its keys do.

use std::{
    cmp::Ordering,
    collections::{HashMap, VecDeque},
};

use indicatif::HumanBytes;
use ratatui::{
    Frame,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::{Constraint, Layout, Margin, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{
        Block, Cell, Paragraph, Row as TableRow, Scrollbar, ScrollbarOrientation, ScrollbarState, Sparkline, Table,
        TableState,
    },
};

use super::Row;
use crate::info::holder;

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    GoOn,
    End,
}

/// Title, width, and from what width of the screen on it is shown: what matters most stays longest. Numbers stand at
/// the right.
const COLUMNS: [(&str, Constraint, u16); 8] = [
    ("RING", Constraint::Fill(3), 0),
    ("IN/s", Constraint::Length(10), 44),
    ("OUT/s", Constraint::Length(10), 76),
    ("LAG", Constraint::Length(10), 34),
    ("FILL", Constraint::Length(5 + BAR), 0),
    ("OLDEST", Constraint::Length(10), 62),
    ("PROD", Constraint::Length(6), 110),
    ("SLOWEST", Constraint::Fill(2), 92),
];
/// Cells of the bar that shows how full a ring is.
const BAR: u16 = 8;
const KEYS: &str = " q end  ↑↓ PgUp PgDn select  ←→ sort  r reverse  / filter  space pause ";
/// Looks that are remembered of each ring.
const HISTORY: usize = 240;

#[derive(Default)]
pub(super) struct Screen {
    /// All that was seen at the last look.
    all: Vec<Row>,
    /// Those that pass the filter, in order.
    rows: Vec<Row>,
    /// By path: the rates in at the last looks, the latest last.
    history: HashMap<String, VecDeque<u64>>,
    /// The column that the rows are sorted by.
    column: usize,
    descending: bool,
    filter: String,
    /// Keys go into the filter.
    is_typing: bool,
    is_paused: bool,
    state: TableState,
    /// Rows that fit at the last drawing.
    height: usize,
}

impl Screen {
    /// What was selected stays so, wherever it is now.
    pub(super) fn set_rows(&mut self, rows: Vec<Row>) {
        if self.is_paused {
            return;
        }
        let mut before = std::mem::take(&mut self.history);
        for row in rows.iter().filter(|row| row.error.is_none()) {
            let mut rates = before.remove(&row.path).unwrap_or_default();
            if rates.len() == HISTORY {
                rates.pop_front();
            }
            rates.push_back(row.bytes_in_per_second as u64);
            self.history.insert(row.path.clone(), rates);
        }
        self.all = rows;
        self.arrange();
    }

    fn arrange(&mut self) {
        let selected = self.selected().map(|row| row.path.clone());
        let filter = self.filter.to_lowercase();
        let passes = |row: &&Row| filter.is_empty() || row.path.to_lowercase().contains(&filter);
        self.rows = self.all.iter().filter(passes).cloned().collect();
        self.sort();
        let place = selected.and_then(|path| self.rows.iter().position(|row| row.path == path));
        let last = self.rows.len().checked_sub(1);
        self.state.select(last.map(|last| place.unwrap_or(self.state.selected().unwrap_or(0).min(last))));
    }

    /// The folder that all rings are in, with the slash at its end; empty if they are in several.
    fn folder(&self) -> &str {
        let folder = |row: &Row| row.path.rfind('/').map_or(0, |at| at + 1);
        let first = self.all.first().map_or("", |row| &row.path[..folder(row)]);
        if self.all.iter().all(|row| &row.path[..folder(row)] == first) { first } else { "" }
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
        // The terminal sends it as a key, not as a signal.
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return What::End;
        }
        if self.is_typing {
            self.typed(key.code);
            return What::GoOn;
        }
        let page = self.height.max(1);
        let at = self.state.selected().unwrap_or(0);
        let last = self.rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return What::End,
            KeyCode::Esc if self.filter.is_empty() => return What::End,
            KeyCode::Esc => self.typed(KeyCode::Esc),
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
                self.arrange();
            }
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char(' ') => self.is_paused = !self.is_paused,
            _ => {}
        }
        What::GoOn
    }

    /// A key while the filter is typed.
    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => _ = self.filter.pop(),
            KeyCode::Esc => {
                self.filter.clear();
                self.is_typing = false;
            }
            KeyCode::Enter => self.is_typing = false,
            _ => return,
        }
        self.arrange();
    }

    /// Names from the first on, numbers from the greatest.
    fn sort_by(&mut self, column: usize) {
        self.column = column;
        self.descending = !matches!(column, 0 | 7);
        self.arrange();
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let area = frame.area();
        let details = self.selected().map(details).unwrap_or_default();
        // Where there is little room, the list of rings is what stays.
        let most = if area.height < 12 { 0 } else { area.height / 3 };
        let height = (details.len() as u16 + 2).min(most);
        let edge = u16::from(area.height >= 4);
        let [summary, table, below, keys] = Layout::vertical([
            Constraint::Length(edge),
            Constraint::Min(1),
            Constraint::Length(height),
            Constraint::Length(edge),
        ])
        .areas(area);
        frame.render_widget(Paragraph::new(self.summary()), summary);
        self.draw_table(frame, table);
        self.draw_details(frame, below, details);
        frame.render_widget(Paragraph::new(self.bottom()).style(Style::new().reversed()), keys);
    }

    fn summary(&self) -> Line<'static> {
        let sum = |rate: fn(&Row) -> f64| HumanBytes(self.all.iter().map(rate).sum::<f64>() as u64).to_string();
        let mut line = Line::from(vec![
            Span::styled("aether top", Style::new().bold()),
            Span::raw(match self.folder() {
                "" => format!("  {} rings", self.all.len()),
                folder => format!("  {} rings in {folder}", self.all.len()),
            }),
        ]);
        // First what somebody should do something about.
        let full = self.all.iter().filter(|row| row.fill >= FULL).count();
        let unreadable = self.all.iter().filter(|row| row.error.is_some()).count();
        for (count, words) in [(full, "nearly full"), (unreadable, "unreadable")] {
            if count > 0 {
                line.push_span(Span::styled(format!("  {count} {words}"), Style::new().fg(Color::Red).bold()));
            }
        }
        if self.is_paused {
            line.push_span(Span::styled("  paused", Style::new().fg(Color::Yellow).bold()));
        }
        let rates = (sum(|row| row.bytes_in_per_second), sum(|row| row.bytes_out_per_second));
        line.push_span(format!("  in {}/s  out {}/s", rates.0, rates.1));
        line
    }

    fn bottom(&self) -> String {
        match (self.is_typing, self.filter.as_str()) {
            (true, filter) => format!(" / {filter}▏  Enter keep  Esc all rings"),
            (false, "") => KEYS.to_owned(),
            (false, filter) => format!(" rings with {filter:?}: {}  Esc all rings ", self.rows.len()),
        }
    }

    fn draw_table(&mut self, frame: &mut Frame<'_>, area: Rect) {
        self.height = usize::from(area.height.saturating_sub(1));
        let has_bar = self.rows.len() > self.height && area.width > 20;
        let [area, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(has_bar.into())]).areas(area);
        let shown: Vec<usize> = (0..COLUMNS.len()).filter(|&column| COLUMNS[column].2 <= area.width).collect();
        let widths: Vec<Constraint> = shown.iter().map(|&column| COLUMNS[column].1).collect();
        let arrow = if self.descending { "▼" } else { "▲" };
        let title = |&column: &usize| {
            let title = COLUMNS[column].0;
            aligned(column, if column == self.column { format!("{title}{arrow}") } else { title.to_owned() })
        };
        let header = TableRow::new(shown.iter().map(title)).style(Style::new().bold().fg(Color::Cyan));
        // As wide as it will be; a name that is too long loses its beginning, not its end.
        let names =
            Layout::horizontal(&widths).spacing(1).split(area).first().map_or(0, |name| usize::from(name.width));
        // On a screen that has grown, what was scrolled away comes back.
        let most = self.rows.len().saturating_sub(self.height);
        *self.state.offset_mut() = self.state.offset().min(most);
        let (first, folder) = (self.state.offset(), self.folder());
        let rows = self.rows.iter().enumerate().map(|(at, row)| {
            // Only those that can be seen are made; one may be scrolled to.
            let is_near = at + self.height >= first && at <= first + 2 * self.height + 1
                || self.state.selected().is_some_and(|selected| at.abs_diff(selected) <= self.height);
            if is_near {
                table_row(row, &shown, &shortened(&row.path[folder.len()..], names))
            } else {
                TableRow::new([""])
            }
        });
        let widget = Table::new(rows, &widths).header(header).row_highlight_style(Style::new().reversed());
        frame.render_stateful_widget(widget, area, &mut self.state);
        if has_bar {
            let mut state =
                ScrollbarState::new(self.rows.len().saturating_sub(self.height)).position(self.state.offset());
            let bar = Scrollbar::new(ScrollbarOrientation::VerticalRight).begin_symbol(None).end_symbol(None);
            frame.render_stateful_widget(bar, right.inner(Margin { vertical: 1, horizontal: 0 }), &mut state);
        }
    }

    fn draw_details(&self, frame: &mut Frame<'_>, area: Rect, mut details: Vec<Line<'_>>) {
        let title = self.selected().map_or("no rings".to_owned(), |row| row.path.clone());
        let rates = self.selected().and_then(|row| Some((row, self.history.get(&row.path)?)));
        let right =
            if rates.is_some() && area.width >= 90 { Constraint::Percentage(40) } else { Constraint::Length(0) };
        let [left, right] = Layout::horizontal([Constraint::Fill(1), right]).areas(area);
        let room = usize::from(left.height.saturating_sub(2));
        if details.len() > room && room > 0 {
            let hidden = details.len() + 1 - room;
            details.truncate(room - 1);
            details.push(Line::from(format!("and {hidden} more: aether info says them all")).dim());
        }
        frame.render_widget(Paragraph::new(details).block(Block::bordered().title(title)), left);
        let Some((row, rates)) = rates else { return };
        let room = usize::from(right.width.saturating_sub(2));
        let shown: Vec<u64> = rates.iter().skip(rates.len().saturating_sub(room)).copied().collect();
        let greatest = HumanBytes(shown.iter().copied().max().unwrap_or(0));
        let title = format!("in {}/s, at most {greatest}/s", HumanBytes(row.bytes_in_per_second as u64));
        let line = Sparkline::default().data(shown).style(Style::new().fg(Color::Green));
        frame.render_widget(line.block(Block::bordered().title(title)), right);
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

/// From here on a ring is nearly full.
const FULL: f64 = 0.9;

fn color_of_fill(fill: f64) -> Color {
    match fill {
        fill if fill >= FULL => Color::Red,
        fill if fill >= 0.6 => Color::Yellow,
        _ => Color::Green,
    }
}

fn bar(fill: f64) -> Line<'static> {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (fill.clamp(0.0, 1.0) * f64::from(BAR) * 8.0).round() as usize;
    let bar = format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8]);
    Line::from(vec![
        Span::styled(
            format!("{bar:<width$}", width = usize::from(BAR)),
            Style::new().fg(color_of_fill(fill)).bg(Color::DarkGray),
        ),
        Span::raw(format!("{:>4.0}%", 100.0 * fill)),
    ])
}

/// The end of a name that is longer than there is room for.
fn shortened(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.to_owned();
    }
    std::iter::once('…').chain(name.chars().skip(length + 1 - room.max(1))).take(room).collect()
}

fn aligned(column: usize, text: String) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(if matches!(column, 0 | 7) { line } else { line.right_aligned() })
}

fn table_row(row: &Row, columns: &[usize], name: &str) -> TableRow<'static> {
    if let Some(error) = &row.error {
        // Where there is no column for words, the pane below has them.
        let text = |&column: &usize| {
            let text = match column {
                0 => name,
                7 => error.as_str(),
                _ => "?",
            };
            aligned(column, text.to_owned())
        };
        return TableRow::new(columns.iter().map(text)).style(Style::new().fg(Color::Red));
    }
    let rate = |value: f64| HumanBytes(value as u64).to_string();
    TableRow::new(columns.iter().map(|&column| {
        let text = match column {
            0 => name.to_owned(),
            1 => rate(row.bytes_in_per_second),
            2 => rate(row.bytes_out_per_second),
            3 => HumanBytes(row.lag).to_string(),
            4 => return bar(row.fill).into(),
            5 => row.age(),
            6 => format!("{}/{}", row.present(), row.producers.len()),
            _ => row.slowest_in_words(),
        };
        aligned(column, text)
    }))
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
        let line = Line::from(format!("slot {}: {}, {lag} behind", consumer.slot, consumer.in_words()));
        // It holds producers back, and nobody is there to read.
        if consumer.pid.is_none() && consumer.lag > 0 { line.style(Style::new().fg(Color::Yellow)) } else { line }
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
            drawn(&mut screen, 120, 20),
            [
                "aether top  4 rings  1 nearly full  1 unreadable  in 6.00 KiB/s  out 3.00 KiB/s",
                "RING▲                                  IN/s      OUT/s        LAG          FILL     OLDEST   PROD SLOWEST",
                "a                                  1.00 KiB      512 B      512 B ████      50%    >=51.2s    1/2 \"audit\" (nobody)",
                "b                                  3.00 KiB   1.50 KiB        0 B            0%          -    1/2 \"audit\" (nobody)",
                "c                                         ?          ?          ?             ?          ?      ? cut short",
                "d                                  2.00 KiB   1.00 KiB   1.00 KiB ████████ 100%   >=102.4s    1/2 \"audit\" (nobody)",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                &format!("┌a{}┐┌in 1.00 KiB/s, at most 1.00 KiB/s{}┐", "─".repeat(69), "─".repeat(13)),
                &format!("│{:<70}││█{:45}│", "slot 3: \"audit\" (nobody), 512 B behind", ""),
                &format!("│{:<70}││█{:45}│", "slot 0: consumer 0 (nobody), 0 B behind", ""),
                &format!("│{:<70}││█{:45}│", "lane 0: produced by process 42", ""),
                &format!("│{:<70}││█{:45}│", "lane 1: produced by nobody", ""),
                &format!("└{}┘└{}┘", "─".repeat(70), "─".repeat(46)),
                " q end  ↑↓ PgUp PgDn select  ←→ sort  r reverse  / filter  space pause",
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
            assert_eq!(order(&screen), expected, "by {}", COLUMNS[screen.column].0);
        }
        press(&mut screen, KeyCode::Left);
        assert_eq!((order(&screen).as_str(), COLUMNS[screen.column].0), ("abdc", "SLOWEST"));
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
    fn a_filter_leaves_rings_with_a_part_of_their_name_until_it_is_given_up() {
        let mut screen = Screen::default();
        screen.set_rows(vec![ring("/r/quotes", 0.0, 0), ring("/r/Orders", 0.0, 0), ring("/r/trades", 0.0, 0)]);
        let shown = |screen: &Screen| screen.rows.iter().map(|row| row.path.clone()).collect::<Vec<_>>();
        for key in ['/', 'q', 'X'] {
            assert_eq!(press(&mut screen, KeyCode::Char(key)), What::GoOn);
        }
        assert!(shown(&screen).is_empty());
        press(&mut screen, KeyCode::Backspace);
        assert_eq!(shown(&screen), ["/r/quotes"]);
        press(&mut screen, KeyCode::Backspace);
        press(&mut screen, KeyCode::Char('d'));
        press(&mut screen, KeyCode::Enter);
        assert_eq!(shown(&screen), ["/r/Orders", "/r/trades"]);
        assert!(drawn(&mut screen, 100, 24).last().unwrap().contains("rings with \"d\": 2"));
        screen.set_rows(vec![ring("/r/dd", 0.0, 0), ring("/r/quotes", 0.0, 0)]);
        assert_eq!(shown(&screen), ["/r/dd"]);
        assert_eq!(press(&mut screen, KeyCode::Esc), What::GoOn);
        assert_eq!(shown(&screen).len(), 2);
        assert_eq!(press(&mut screen, KeyCode::Esc), What::End);
    }

    #[test]
    fn what_is_paused_stays_as_it_is() {
        let mut screen = Screen::default();
        screen.set_rows(vec![ring("a", 0.0, 100)]);
        press(&mut screen, KeyCode::Char(' '));
        screen.set_rows(Vec::new());
        assert_eq!(screen.rows.len(), 1);
        assert!(drawn(&mut screen, 100, 24)[0].contains("paused"));
        press(&mut screen, KeyCode::Char(' '));
        screen.set_rows(Vec::new());
        assert!(screen.rows.is_empty());
    }

    #[test]
    fn on_a_narrow_screen_the_name_and_the_fill_stay() {
        let mut screen = Screen::default();
        screen.set_rows(vec![ring("/dev/shm/a/name/that/is/long", 0.0, 512), ring("/b", 0.0, 0)]);
        let line = |screen: &mut Screen, width| drawn(screen, width, 24)[3].clone();
        assert!(line(&mut screen, 30).starts_with("…me/that/is/long ████ "), "{:?}", line(&mut screen, 30));
        assert!(line(&mut screen, 30).ends_with(" 50%"));
        assert!(line(&mut screen, 200).contains("/dev/shm/a/name/that/is/long"));
        assert!(line(&mut screen, 200).contains("\"audit\" (nobody)"));
    }

    #[test]
    fn a_thousand_rings_are_drawn_as_far_as_they_are_seen() {
        let mut screen = Screen::default();
        screen.set_rows((0..1000).map(|n| ring(&format!("/r/{n:03}"), 0.0, 1)).collect());
        for (code, expected) in [(KeyCode::End, 999), (KeyCode::Home, 0), (KeyCode::PageDown, 15), (KeyCode::End, 999)]
        {
            press(&mut screen, code);
            let lines = drawn(&mut screen, 100, 24);
            assert!(lines.iter().any(|line| line.starts_with(&format!("{expected:03} "))), "{lines:#?}");
            let numbers: Vec<u32> = lines.iter().filter_map(|line| line.get(..3)?.parse().ok()).collect();
            assert_eq!(numbers.len(), 15, "{lines:#?}");
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        }
        // All of them fit now, though the last one was scrolled to.
        assert!(drawn(&mut screen, 100, 1100)[2].starts_with("000 "));
    }

    #[test]
    fn no_size_of_a_terminal_is_too_small() {
        let mut screen = Screen::default();
        screen.set_rows(rings());
        for (width, height) in [(1, 1), (3, 2), (10, 3), (200, 1), (1, 100), (20, 5), (40, 12), (500, 200)] {
            drawn(&mut screen, width, height);
        }
    }
}

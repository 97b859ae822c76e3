//! `aether journal export`: a journal as a Parquet file.

use std::{fs::File, io, path::PathBuf, sync::Arc};

use aether_journal::Record;
use clap::Args;
use parquet::{
    basic::{Compression, ZstdLevel},
    data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type},
    errors::{ParquetError, Result as ParquetResult},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::parser::parse_message_type,
};
use serde_json::json;

use super::selection::{Selected, Selection};
use crate::{
    exit::{Exit, Failure, Result},
    interrupt::Interrupt,
    output,
    progress::Progress,
};

const EXAMPLES: &str = "\
Examples:
  aether journal export quotes.journal -o quotes.parquet
  python3 -c 'import pyarrow.parquet as p; print(p.read_table(\"quotes.parquet\"))'";

/// Export messages to a Parquet file, for Arrow, pandas, Polars, DuckDB and others
///
/// A row for each message: time (nanoseconds, UTC), id, type, lane, position, payload. The file appears when it is
/// whole; one that is there is replaced.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Export {
    /// The journal
    file: PathBuf,
    /// The file to make
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Print how many were exported, as a JSON object at the end
    #[arg(long)]
    json: bool,
}

const SCHEMA: &str = "message journal {
    required int64 time (TIMESTAMP(NANOS, true));
    required int64 id;
    required int32 type;
    required int32 lane (INTEGER(32, false));
    required int64 position (INTEGER(64, false));
    required binary payload;
}";

/// Where a row group ends, so that an export of any size needs little memory.
const ROWS: usize = 128 << 10;
const BYTES: usize = 64 << 20;

/// Columns of a row group.
#[derive(Default)]
struct Columns {
    times: Vec<i64>,
    ids: Vec<i64>,
    types: Vec<i32>,
    lanes: Vec<i32>,
    positions: Vec<i64>,
    payloads: Vec<ByteArray>,
    bytes: usize,
}

impl Columns {
    fn push(&mut self, record: &Record<'_>) {
        self.times.push(record.time.cast_signed());
        self.ids.push(record.id);
        self.types.push(record.message_type);
        self.lanes.push(record.lane.cast_signed());
        self.positions.push(record.position.cast_signed());
        self.payloads.push(record.payload.to_vec().into());
        self.bytes += record.payload.len();
    }

    fn is_full(&self) -> bool {
        self.ids.len() >= ROWS || self.bytes >= BYTES
    }

    fn write(&mut self, writer: &mut SerializedFileWriter<File>) -> ParquetResult<()> {
        let mut group = writer.next_row_group()?;
        column::<Int64Type>(&mut group, &self.times)?;
        column::<Int64Type>(&mut group, &self.ids)?;
        column::<Int32Type>(&mut group, &self.types)?;
        column::<Int32Type>(&mut group, &self.lanes)?;
        column::<Int64Type>(&mut group, &self.positions)?;
        column::<ByteArrayType>(&mut group, &self.payloads)?;
        group.close()?;
        *self = Columns::default();
        Ok(())
    }
}

fn column<T: DataType>(group: &mut SerializedRowGroupWriter<'_, File>, values: &[T::T]) -> ParquetResult<()> {
    let missing = || ParquetError::General("fewer columns than the schema has".to_owned());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

pub(super) fn run(args: &Export) -> Result {
    let interrupt = Interrupt::catch()?;
    let mut selected = args.selection.open(&args.file)?;
    let failure = |error: &dyn std::fmt::Display| Failure::Words(format!("{}: {error}", args.output.display()));
    let folder = match args.output.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => ".".as_ref(),
    };
    let file =
        tempfile::Builder::new().prefix(".aether-export-").tempfile_in(folder).map_err(|error| failure(&error))?;
    let copy = file.reopen().map_err(|error| failure(&error))?;
    let mut writer = begin(copy).map_err(|error| failure(&error))?;
    let mut columns = Columns::default();
    let exported = fill(&mut selected, &interrupt, &mut columns, |columns| {
        columns.write(&mut writer).map_err(|error| failure(&error))
    })?;
    columns.write(&mut writer).map_err(|error| failure(&error))?;
    writer.close().map_err(|error| failure(&error))?;
    selected.say_skipped();
    file.persist(&args.output).map_err(|error| failure(&error.error))?;
    match args.json {
        true => output::json(&json!({ "exported": exported }))?,
        false => eprintln!("aether: {exported} messages were exported"),
    }
    Ok(Exit::Done)
}

fn begin(file: File) -> ParquetResult<SerializedFileWriter<File>> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    SerializedFileWriter::new(file, schema, Arc::new(properties))
}

fn fill(
    selected: &mut Selected,
    interrupt: &Interrupt,
    columns: &mut Columns,
    mut write: impl FnMut(&mut Columns) -> Result<()>,
) -> Result<u64> {
    let mut exported = 0;
    let mut progress = Progress::new(&io::stdout(), None);
    while let Some((_, record)) = selected.next()? {
        progress.add(1, record.payload.len() as u64);
        columns.push(&record);
        exported += 1;
        if columns.is_full() {
            if interrupt.is_set() {
                return Err(Failure::Interrupted("nothing was exported".to_owned()));
            }
            write(columns)?;
        }
    }
    Ok(exported)
}

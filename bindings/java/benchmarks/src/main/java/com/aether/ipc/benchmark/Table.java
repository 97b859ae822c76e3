package com.aether.ipc.benchmark;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Writes JMH's results into a document, between two marks: DOCUMENT JSON... */
final class Table {
    private static final Pattern MARKS = Pattern.compile("(<!-- jmh -->\n).*?(<!-- jmh -->)", Pattern.DOTALL);

    private Table() {}

    public static void main(String[] arguments) throws IOException {
        List<String> rows = new ArrayList<>(List.of("| benchmark | | |", "|---|---:|---|"));
        String java = "";
        for (String file : List.of(arguments).subList(1, arguments.length)) {
            for (JsonElement element : JsonParser.parseString(Files.readString(Path.of(file))).getAsJsonArray()) {
                JsonObject result = element.getAsJsonObject();
                java = result.get("vmName").getAsString() + " " + result.get("vmVersion").getAsString();
                rows.add(row(result));
            }
        }
        String table = String.join("\n", rows) + "\n\nMeasured on " + processor() + ", "
                + Runtime.getRuntime().availableProcessors() + " of them, " + System.getProperty("os.name") + " "
                + System.getProperty("os.version").replaceFirst("-.*", "") + ", " + java + ".\n";
        Path document = Path.of(arguments[0]);
        Matcher marks = MARKS.matcher(Files.readString(document));
        if (!marks.find()) {
            throw new IllegalArgumentException(document + " has no two marks <!-- jmh -->");
        }
        Files.writeString(document, marks.replaceFirst("$1" + Matcher.quoteReplacement(table) + "$2"));
    }

    private static String row(JsonObject result) {
        String[] name = result.get("benchmark").getAsString().split("\\.");
        String parameters = result.has("params")
                ? " " + result.getAsJsonObject("params").entrySet().iterator().next().getValue().getAsString()
                : "";
        JsonObject metric = result.getAsJsonObject("primaryMetric");
        double score = metric.get("score").getAsDouble();
        JsonElement error = metric.get("scoreError");
        String unit = metric.get("scoreUnit").getAsString();
        // Nobody reads eight digits.
        double scale = 1;
        switch (unit) {
            case "ops/s" -> {
                scale = 1e-6;
                unit = "million/s";
            }
            case "us/op" -> {
                scale = 1e3;
                unit = "ns";
            }
            default -> unit = "ns";
        }
        double half = Double.parseDouble(error.getAsString()) * scale;
        // One iteration has none.
        String range = Double.isNaN(half) ? "" : String.format(Locale.ROOT, " ± %.1f", half);
        return String.format(
                Locale.ROOT, "| `%s.%s`%s | %.1f%s | %s |", name[name.length - 2], name[name.length - 1], parameters,
                score * scale, range, unit);
    }

    private static String processor() throws IOException {
        Path file = Path.of("/proc/cpuinfo");
        if (!Files.exists(file)) {
            return System.getProperty("os.arch");
        }
        return Files.readAllLines(file).stream()
                .filter(line -> line.startsWith("model name"))
                .map(line -> line.substring(line.indexOf(':') + 2))
                .findFirst()
                .orElse(System.getProperty("os.arch"));
    }
}

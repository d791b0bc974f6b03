package org.openconnect.debezium;

import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.io.BufferedOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Properties;

/**
 * Debezium's MySQL connector on a database, with its default settings.
 *
 * <p>Arguments: host, port, user, password, database, snapshot mode, and {@code print} or {@code count}. With {@code print} each
 * change of a row is a line of JSON on the standard output; with {@code count} they are only counted, and each second the
 * number so far is a line.
 */
public final class Main {
  private static long counted;

  public static void main(String[] arguments) throws Exception {
    boolean print = arguments[6].equals("print");
    PrintStream out = new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);
    DebeziumEngine<ChangeEvent<String, String>> engine =
        DebeziumEngine.create(Json.class)
            .using(settings(arguments))
            .using((success, message, error) -> {
              if (!success) {
                System.err.println("the engine ended: " + message + " " + error);
                System.exit(1);
              }
            })
            .notifying((List<ChangeEvent<String, String>> events, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> done) -> {
              for (ChangeEvent<String, String> event : events) {
                take(event, print ? out : null);
                done.markProcessed(event);
              }
              done.markBatchFinished();
              out.flush();
            })
            .build();
    if (!print) {
      Thread clock = new Thread(() -> tell(out));
      clock.setDaemon(true);
      clock.start();
    }
    engine.run();
  }

  private static void take(ChangeEvent<String, String> event, PrintStream out) {
    // Other topics are about the schema; a record without a value follows a delete.
    if (event.value() == null || event.destination().indexOf('.') < 0) {
      return;
    }
    counted++;
    if (out != null) {
      out.println(event.value());
    }
  }

  private static void tell(PrintStream out) {
    try {
      while (true) {
        Thread.sleep(100);
        out.println(counted);
        out.flush();
      }
    } catch (InterruptedException end) {
      Thread.currentThread().interrupt();
    }
  }

  private static Properties settings(String[] arguments) {
    Properties settings = new Properties();
    settings.setProperty("name", "compared");
    settings.setProperty("connector.class", "io.debezium.connector.mysql.MySqlConnector");
    settings.setProperty("offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore");
    settings.setProperty("schema.history.internal", "io.debezium.relational.history.MemorySchemaHistory");
    settings.setProperty("topic.prefix", "compared");
    settings.setProperty("database.server.id", "184054");
    settings.setProperty("database.hostname", arguments[0]);
    settings.setProperty("database.port", arguments[1]);
    settings.setProperty("database.user", arguments[2]);
    settings.setProperty("database.password", arguments[3]);
    settings.setProperty("database.include.list", arguments[4]);
    settings.setProperty("snapshot.mode", arguments[5]);
    settings.setProperty("key.converter.schemas.enable", "false");
    settings.setProperty("value.converter.schemas.enable", "false");
    return settings;
  }

  private Main() {}
}

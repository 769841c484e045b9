import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.util.Properties;
import java.util.Scanner;
import org.postgresql.PGStatement;

/**
 * JDBC with a token as the password, over TLS: java -cp postgresql.jar Jdbc.java PORT DATABASE LOGIN ROLE CERTIFICATE. Prints the kind of token
 * that it wants and reads one, as often as it logs in; "fine" is last, or it fails.
 */
class Jdbc {
  static final Scanner INPUT = new Scanner(System.in);
  static String[] arguments;

  static Connection connect(String token) throws SQLException {
    System.out.println(token);
    Properties properties = new Properties();
    properties.setProperty("user", arguments[2]);
    properties.setProperty("password", INPUT.nextLine());
    properties.setProperty("sslmode", "verify-full");
    properties.setProperty("sslrootcert", arguments[4]);
    return DriverManager.getConnection("jdbc:postgresql://localhost:" + arguments[0] + "/" + arguments[1], properties);
  }

  static void same(Object there, Object wanted) {
    if (!there.equals(wanted)) {
      throw new AssertionError("there is " + there + ", wanted is " + wanted);
    }
  }

  static void works(Connection connection) throws SQLException {
    connection.setAutoCommit(false);
    String ask = "SELECT current_user, scope.jwt_claims() ->> 'sub', count(*) FROM orders WHERE id > ?";
    try (PreparedStatement statement = connection.prepareStatement(ask)) {
      // From the fifth time on as one that the server has prepared.
      for (int i = 0; i < 12; i++) {
        statement.setInt(1, 0);
        ResultSet row = statement.executeQuery();
        row.next();
        same(row.getString(1) + " " + row.getString(2) + " " + row.getLong(3), arguments[3] + " ann 2");
        if (i % 2 == 0) {
          connection.commit();
        } else {
          connection.rollback();
        }
      }
      same(statement.unwrap(PGStatement.class).isUseServerPrepare(), true);
    }
    connection.close();
  }

  public static void main(String[] given) throws SQLException {
    arguments = given;
    for (String token : new String[] {"good", "8000", "60000"}) {
      works(connect(token));
    }
    try {
      connect("bad");
      throw new AssertionError("a bad token has logged in");
    } catch (SQLException refusal) {
      same(refusal.getSQLState(), "28P01");
    }
    try (Connection connection = connect("brief")) {
      connection.createStatement().execute("SELECT pg_sleep(60)");
      throw new AssertionError("a token outlives its end");
    } catch (SQLException end) {
      same(end.getSQLState(), "57P01");
    }
    System.out.println("fine");
  }
}

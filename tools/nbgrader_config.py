"""Settings of the graded course; `make classroom` copies them beside source/."""

c = get_config()  # noqa: F821 (nbgrader provides it)

c.CourseDirectory.course_id = "dropnorm"

# A solution gives way to nothing, so the released cell is the stub (and a newline).
c.ClearSolutions.code_stub = {"python": ""}

# Seconds for each cell; then the cell has failed, and grading goes on with the next.
c.Execute.timeout = 120

# Seconds to wait for what a finished cell printed. With the 4 of nbgrader, a machine
# that grades several students at once loses whole notebooks.
c.Execute.iopub_timeout = 60

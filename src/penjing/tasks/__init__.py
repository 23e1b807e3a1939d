"""One file a task, named by the field's own name; each ends with `TASK`, its Task class."""
